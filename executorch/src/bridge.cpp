// The few calls of ExecuTorch's C++ interface that a worker needs, as C functions. `bridge.rs` declares the same.
//
// One program per process, called from one thread. Errors are ExecuTorch's own numbers, with what it logged beside them.

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

namespace executorch::extension::threadpool {

// The library exports these two, and its wheel leaves their header out.
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t thread_count);
};
ThreadPool* get_threadpool();

} // namespace executorch::extension::threadpool

namespace {

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Program;
using executorch::runtime::Result;
using executorch::runtime::Tag;

constexpr size_t RANK_MAX = 8;
constexpr size_t LOG_BYTES_MAX = 1000;
// XNNPACK's kernels may read this much beyond the end of an input.
constexpr size_t BEYOND_BYTES = 128;

std::mutex log_lock;
std::string log_text;

// Keeps what ExecuTorch says of an error, to be told with it; anything less is of no use to an agent. After a fatal one
// the process ends, and its standard error is what the agent still gets.
void keep(
    et_timestamp_t,
    et_pal_log_level_t level,
    const char*,
    const char*,
    size_t,
    const char* message,
    size_t length) {
  if (level == et_pal_log_level_t::kFatal) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(length), message);
  }
  if (level != et_pal_log_level_t::kError) {
    return;
  }
  const std::lock_guard<std::mutex> guard(log_lock);
  if (log_text.size() + length + 2 <= LOG_BYTES_MAX) {
    log_text.append(log_text.empty() ? "" : "; ").append(message, length);
  }
}

void forget() {
  const std::lock_guard<std::mutex> guard(log_lock);
  log_text.clear();
}

uint32_t number(Error error) {
  return static_cast<uint32_t>(error);
}

} // namespace

extern "C" {

// A tensor as a program states it. `dtype` -1: no tensor; `rank` over RANK_MAX: `sizes` is not filled.
struct TinywattTensor {
  int32_t dtype;
  uint32_t rank;
  int32_t sizes[RANK_MAX];
  size_t size_bytes;
  // Whether the last dimension is the innermost, as everybody expects.
  bool is_contiguous;
};

struct TinywattFacts {
  size_t input_count;
  size_t output_count;
  TinywattTensor input;
  TinywattTensor output;
};

struct TinywattProgram {
  std::unique_ptr<Module> module;
  std::vector<unsigned char> input;
  std::vector<EValue> arguments;
  std::vector<EValue> results;
  executorch::extension::TensorPtr tensor;
};

} // extern "C"

namespace {

TinywattTensor none() {
  TinywattTensor tensor{};
  tensor.dtype = -1;
  return tensor;
}

// A tensor, or what a program says of one.
template <typename Source>
TinywattTensor described(const Source& source) {
  TinywattTensor tensor{};
  tensor.dtype = static_cast<int32_t>(source.scalar_type());
  tensor.rank = static_cast<uint32_t>(source.sizes().size());
  tensor.size_bytes = source.nbytes();
  tensor.is_contiguous = true;
  for (size_t index = 0; index < source.sizes().size() && index < RANK_MAX; ++index) {
    tensor.sizes[index] = source.sizes()[index];
    tensor.is_contiguous = tensor.is_contiguous && source.dim_order()[index] == index;
  }
  return tensor;
}

// Describes one end of a method; what is no tensor stays `none`.
Error end(const Result<Tag>& tag, const Result<executorch::runtime::TensorInfo>& info, TinywattTensor* tensor) {
  *tensor = none();
  if (!tag.ok() || *tag != Tag::Tensor) {
    return Error::Ok;
  }
  if (!info.ok()) {
    return info.error();
  }
  *tensor = described(*info);
  return Error::Ok;
}

Error describe(Module& module, TinywattFacts* facts) {
  const auto meta = module.method_meta("forward");
  if (!meta.ok()) {
    return meta.error();
  }
  facts->input_count = meta->num_inputs();
  facts->output_count = meta->num_outputs();
  const Error error = end(meta->input_tag(0), meta->input_tensor_meta(0), &facts->input);
  return error == Error::Ok ? end(meta->output_tag(0), meta->output_tensor_meta(0), &facts->output) : error;
}

} // namespace

extern "C" {

// To be called once, before anything else.
void tinywatt_executorch_start() {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep, "bridge.cpp"));
  executorch::runtime::runtime_init();
}

// The library's file, or null.
const char* tinywatt_executorch_library() {
  Dl_info found;
  const auto* inside = reinterpret_cast<const void*>(&executorch::runtime::runtime_init);
  return dladdr(inside, &found) != 0 ? found.dli_fname : nullptr;
}

const char* tinywatt_executorch_error(uint32_t error) {
  return executorch::runtime::to_string(static_cast<Error>(error));
}

// Copies what ExecuTorch logged of the last call; returns the number of bytes.
size_t tinywatt_executorch_log(char* to, size_t size) {
  const std::lock_guard<std::mutex> guard(log_lock);
  const size_t length = log_text.size() < size ? log_text.size() : size;
  std::memcpy(to, log_text.data(), length);
  return length;
}

// Reads a program's file and what it says of its method "forward". `*program` is null after an error.
uint32_t tinywatt_executorch_open(const char* path, TinywattProgram** program, TinywattFacts* facts) {
  forget();
  *program = nullptr;
  try {
    auto opened = std::make_unique<TinywattProgram>();
    opened->module = std::make_unique<Module>(std::string(path));
    Error error = opened->module->load(Program::Verification::InternalConsistency);
    if (error == Error::Ok) {
      error = describe(*opened->module, facts);
    }
    if (error == Error::Ok) {
      *program = opened.release();
    }
    return number(error);
  } catch (...) {
    return number(Error::MemoryAllocationFailed);
  }
}

// Makes the method ready, for float32 inputs of the program's own shape; `*input` is where they go.
uint32_t tinywatt_executorch_prepare(
    TinywattProgram* program,
    const TinywattTensor* shape,
    uint32_t thread_count,
    unsigned char** input) {
  forget();
  try {
    // XNNPACK takes the pool as it is when the method is loaded.
    auto* pool = executorch::extension::threadpool::get_threadpool();
    if (pool == nullptr || !pool->_unsafe_reset_threadpool(thread_count)) {
      return number(Error::OutOfResources);
    }
    const Error error = program->module->load_method("forward");
    if (error != Error::Ok) {
      return number(error);
    }
    program->input.assign(shape->size_bytes + BEYOND_BYTES, 0);
    program->tensor = executorch::extension::make_tensor_ptr(
        std::vector<int32_t>(shape->sizes, shape->sizes + shape->rank), program->input.data(), ScalarType::Float);
    program->arguments.assign(1, EValue(*program->tensor));
    *input = program->input.data();
    return number(Error::Ok);
  } catch (...) {
    return number(Error::MemoryAllocationFailed);
  }
}

// Executes the method on what lies in the input.
uint32_t tinywatt_executorch_run(TinywattProgram* program) {
  forget();
  try {
    auto results = program->module->execute("forward", program->arguments);
    if (!results.ok()) {
      return number(results.error());
    }
    program->results = std::move(*results);
    return number(Error::Ok);
  } catch (...) {
    return number(Error::MemoryAllocationFailed);
  }
}

// The output of the last run, which lives until the next, or null.
const unsigned char* tinywatt_executorch_output(const TinywattProgram* program, TinywattTensor* output) {
  if (program->results.empty() || !program->results[0].isTensor()) {
    return nullptr;
  }
  const auto tensor = program->results[0].toTensor();
  *output = described(tensor);
  return static_cast<const unsigned char*>(tensor.const_data_ptr());
}

void tinywatt_executorch_close(TinywattProgram* program) {
  delete program;
}

} // extern "C"

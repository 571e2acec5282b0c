// What tch leaves out of PyTorch's C++ interface. Nothing here throws into Rust.

#include <ATen/Context.h>
#include <ATen/Version.h>

#include <dlfcn.h>

#include <climits>
#include <cstring>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

extern "C" {

// File of the library that was loaded, or null.
const char* tinywatt_torch_library() noexcept {
  Dl_info found;
  const auto* inside = reinterpret_cast<const void*>(&at::show_config);
  return dladdr(inside, &found) != 0 ? found.dli_fname : nullptr;
}

// Copies what the library says of its own build; returns the number of bytes, 0 when it says nothing.
size_t tinywatt_torch_config(char* to, size_t size) noexcept {
  try {
    const std::string text = at::show_config();
    const size_t length = text.size() < size ? text.size() : size;
    std::memcpy(to, text.data(), length);
    return length;
  } catch (...) {
    return 0;
  }
}

// Loads a library for the rest of the process; returns why it could not, or null. The text is the system's own.
const char* tinywatt_torch_load(const char* path) noexcept {
  return dlopen(path, RTLD_NOW | RTLD_GLOBAL) != nullptr ? nullptr : dlerror();
}

// As the trainer for Python torch sets itself up; returns whether it is.
bool tinywatt_torch_be_deterministic() noexcept {
  try {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(true, false);
    // Filling fresh memory finds reads of nothing, and costs writes that no other trainer pays.
    context.setDeterministicFillUninitializedMemory(false);
    context.setBenchmarkCuDNN(false);
    return context.deterministicAlgorithms();
  } catch (...) {
    return false;
  }
}

// Keeps what a step of training frees for the next step, which takes as much again. By default glibc gives large blocks
// back to the kernel, and to be given fresh pages for them took a quarter of the time.
void tinywatt_torch_keep_memory() noexcept {
#ifdef __GLIBC__
  // The most that glibc takes for it.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}
}

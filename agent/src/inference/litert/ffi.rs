//! The C functions of LiteRT that are used here, and a thin wrapper that owns what they hand out.
//!
//! The only file of the agent with `unsafe`. Signatures and layouts are those of LiteRT 2.3.0's headers (`litert/c/`);
//! the library's checksum has been compared with that release's before it gets here, so they are the library's own.
#![expect(unsafe_code, reason = "a C library cannot be called otherwise; everything else goes through `Session`")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

/// An object of the library. Each kind has a type of its own in C; here the functions below keep them apart.
type Handle = *mut c_void;

/// `LiteRtStatus`: 0 is success.
type Status = c_int;

/// Accelerator set of the CPU alone (`kLiteRtHwAcceleratorCpu`).
const CPU: c_int = 1;

/// `kLiteRtTensorBufferLockModeRead` and `…Write`.
const LOCK_READ: c_int = 0;
const LOCK_WRITE: c_int = 1;

/// `kLiteRtQuantizationPerTensor`, and no quantisation.
const PER_TENSOR: c_int = 1;
const NOT_QUANTISED: c_int = 0;

/// Most dimensions of a tensor (`LITERT_TENSOR_MAX_RANK`).
const RANK_MAX: usize = 8;

/// `LiteRtRankedTensorType`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct RankedTensorType {
    element: c_int,
    /// Rank in the lowest 7 bits, then one bit for strides.
    rank_and_flag: u32,
    dimensions: [i32; RANK_MAX],
    strides: [u32; RANK_MAX],
}

/// `LiteRtQuantizationPerTensor`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct PerTensor {
    scale: f32,
    zero_point: i64,
}

const _: () = assert!(size_of::<RankedTensorType>() == 72 && size_of::<PerTensor>() == 16);

macro_rules! functions {
    ($($field:ident = $symbol:literal ( $($argument:ty),* ) $(-> $result:ty)?;)*) => {
        /// The library's functions.
        #[derive(Clone, Copy)]
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn resolve(library: &libloading::Library) -> Result<Self, OpenError> {
                Ok(Self {
                    $($field: {
                        // SAFETY: the type is that of the release's header. The pointer outlives `library`'s borrow,
                        // which is sound because `Library::open` never unloads it.
                        let symbol = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) $(-> $result)?>($symbol)
                        };
                        *symbol.map_err(|source| OpenError::Symbol { name: $symbol, source })?
                    },)*
                })
            }
        }
    };
}

functions! {
    create_environment = "LiteRtCreateEnvironment"(c_int, *const c_void, *mut Handle) -> Status;
    destroy_environment = "LiteRtDestroyEnvironment"(Handle);
    create_model = "LiteRtCreateModelFromFile"(Handle, *const c_char, *mut Handle) -> Status;
    destroy_model = "LiteRtDestroyModel"(Handle);
    signature_count = "LiteRtGetNumModelSignatures"(Handle, *mut usize) -> Status;
    signature = "LiteRtGetModelSignature"(Handle, usize, *mut Handle) -> Status;
    input_count = "LiteRtGetNumSignatureInputs"(Handle, *mut usize) -> Status;
    output_count = "LiteRtGetNumSignatureOutputs"(Handle, *mut usize) -> Status;
    input_tensor = "LiteRtGetSignatureInputTensorByIndex"(Handle, usize, *mut Handle) -> Status;
    output_tensor = "LiteRtGetSignatureOutputTensorByIndex"(Handle, usize, *mut Handle) -> Status;
    tensor_type = "LiteRtGetRankedTensorType"(Handle, *mut RankedTensorType) -> Status;
    quantisation_kind = "LiteRtGetQuantizationTypeId"(Handle, *mut c_int) -> Status;
    per_tensor = "LiteRtGetPerTensorQuantization"(Handle, *mut PerTensor) -> Status;
    create_options = "LiteRtCreateOptions"(*mut Handle) -> Status;
    destroy_options = "LiteRtDestroyOptions"(Handle);
    set_accelerators = "LiteRtSetOptionsHardwareAccelerators"(Handle, c_int) -> Status;
    create_opaque =
        "LiteRtCreateOpaqueOptions"(*const c_char, *mut c_void, unsafe extern "C" fn(*mut c_void), *mut Handle) -> Status;
    destroy_opaque = "LiteRtDestroyOpaqueOptions"(Handle);
    add_opaque = "LiteRtAddOpaqueOptions"(Handle, Handle) -> Status;
    compile = "LiteRtCreateCompiledModel"(Handle, Handle, Handle, *mut Handle) -> Status;
    destroy_compiled = "LiteRtDestroyCompiledModel"(Handle);
    input_requirements = "LiteRtGetCompiledModelInputBufferRequirements"(Handle, usize, usize, *mut Handle) -> Status;
    output_requirements = "LiteRtGetCompiledModelOutputBufferRequirements"(Handle, usize, usize, *mut Handle) -> Status;
    create_buffer =
        "LiteRtCreateManagedTensorBufferFromRequirements"(Handle, *const RankedTensorType, Handle, *mut Handle) -> Status;
    buffer_size = "LiteRtGetTensorBufferSize"(Handle, *mut usize) -> Status;
    lock = "LiteRtLockTensorBuffer"(Handle, *mut *mut c_void, c_int) -> Status;
    unlock = "LiteRtUnlockTensorBuffer"(Handle) -> Status;
    destroy_buffer = "LiteRtDestroyTensorBuffer"(Handle);
    run = "LiteRtRunCompiledModel"(Handle, usize, usize, *mut Handle, usize, *mut Handle) -> Status;
    status_text = "LiteRtGetStatusString"(Status) -> *const c_char;
}

/// The library could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's loader refused it.
    #[error(
        "failed to open the library (on aarch64 it needs GLIBC 2.34 or newer: Debian 12 or a 64-bit Raspberry Pi OS)"
    )]
    Load(#[source] libloading::Error),
    /// It lacks a function.
    #[error("the library has no function {name}")]
    Symbol {
        /// The function.
        name: &'static str,
        /// Why.
        #[source]
        source: libloading::Error,
    },
}

/// A function of the library failed.
#[derive(Debug, thiserror::Error)]
#[error("LiteRT failed to {action}: {text} (status {status})")]
pub struct CallError {
    action: &'static str,
    status: c_int,
    text: String,
}

/// The opened library.
#[derive(Clone, Copy)]
pub(super) struct Library(Functions);

impl Library {
    /// Opens the library. It stays loaded to the end of the process: it leaves thread-local destructors behind.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        // SAFETY: loading runs the file's initialisers. The caller has compared its checksum with the official release.
        let library = unsafe { libloading::Library::new(path) }.map_err(OpenError::Load)?;
        let functions = Functions::resolve(&library)?;
        std::mem::forget(library);
        Ok(Self(functions))
    }

    fn check(self, action: &'static str, status: Status) -> Result<(), CallError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function takes any status and returns a text that lives as long as the library, or null.
        let text = unsafe { (self.0.status_text)(status) };
        let text = if text.is_null() {
            "unknown status".to_owned()
        } else {
            // SAFETY: not null, and a text of the library ends with 0.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        Err(CallError { action, status, text })
    }
}

/// A tensor as the library describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// `LiteRtElementType`.
    pub(super) element: c_int,
    /// Dimensions; a negative one is not fixed.
    pub(super) dimensions: Vec<i32>,
    /// How its integers stand for real values.
    pub(super) quantisation: Scale,
}

/// How a tensor's integers stand for real values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// They do not.
    None,
    /// One scale and zero point for all.
    PerTensor { scale: f32, zero_point: i64 },
    /// A way that only weights have.
    Other,
}

/// A model file, read but not made ready to run. Owns its handles.
pub(super) struct Model {
    library: Library,
    environment: Handle,
    model: Handle,
    signature: Handle,
}

impl Model {
    /// Reads a model file.
    pub(super) fn read(library: Library, path: &CStr) -> Result<Self, CallError> {
        let mut model = Self { library, environment: null_mut(), model: null_mut(), signature: null_mut() };
        let functions = library.0;
        // SAFETY: no options, and a place for the result.
        let status = unsafe { (functions.create_environment)(0, null(), &raw mut model.environment) };
        library.check("create its environment", status)?;
        // SAFETY: a live environment, a text that ends with 0, and a place for the result.
        let status = unsafe { (functions.create_model)(model.environment, path.as_ptr(), &raw mut model.model) };
        library.check("read the model", status)?;
        let mut count = 0;
        // SAFETY: a live model, and a place for the result.
        library.check("count the model's signatures", unsafe {
            (functions.signature_count)(model.model, &raw mut count)
        })?;
        // SAFETY: a live model, and a place for the result. An index that is too large is an error of the library.
        let status = unsafe { (functions.signature)(model.model, 0, &raw mut model.signature) };
        library.check("find the model's first signature", status)?;
        Ok(model)
    }

    /// All inputs.
    pub(super) fn inputs(&self) -> Result<Vec<Tensor>, CallError> {
        let functions = self.library.0;
        self.tensors("describe the model's inputs", functions.input_count, functions.input_tensor)
    }

    /// All outputs.
    pub(super) fn outputs(&self) -> Result<Vec<Tensor>, CallError> {
        let functions = self.library.0;
        self.tensors("describe the model's outputs", functions.output_count, functions.output_tensor)
    }

    fn tensors(
        &self,
        action: &'static str,
        count_of: unsafe extern "C" fn(Handle, *mut usize) -> Status,
        tensor_of: unsafe extern "C" fn(Handle, usize, *mut Handle) -> Status,
    ) -> Result<Vec<Tensor>, CallError> {
        let mut count = 0;
        // SAFETY: a live signature, and a place for the result.
        self.library.check(action, unsafe { count_of(self.signature, &raw mut count) })?;
        let describe = |index| {
            let mut tensor = null_mut();
            // SAFETY: a live signature, an index below its count, and a place for the result.
            self.library.check(action, unsafe { tensor_of(self.signature, index, &raw mut tensor) })?;
            self.describe(action, tensor)
        };
        (0..count).map(describe).collect()
    }

    fn describe(&self, action: &'static str, tensor: Handle) -> Result<Tensor, CallError> {
        let functions = self.library.0;
        let check = |status| self.library.check(action, status);
        let kind = self.tensor_type(action, tensor)?;
        let mut quantisation = 0;
        // SAFETY: a tensor of the live model, and a place for the result.
        check(unsafe { (functions.quantisation_kind)(tensor, &raw mut quantisation) })?;
        let quantisation = match quantisation {
            NOT_QUANTISED => Scale::None,
            PER_TENSOR => {
                let mut per_tensor = PerTensor::default();
                // SAFETY: a tensor of the live model that has a scale for the whole, and a place for the result.
                check(unsafe { (functions.per_tensor)(tensor, &raw mut per_tensor) })?;
                Scale::PerTensor { scale: per_tensor.scale, zero_point: per_tensor.zero_point }
            }
            _ => Scale::Other,
        };
        let rank = kind.dimensions.len().min((kind.rank_and_flag & 0x7f) as usize);
        Ok(Tensor { element: kind.element, dimensions: kind.dimensions[..rank].to_vec(), quantisation })
    }

    fn tensor_type(&self, action: &'static str, tensor: Handle) -> Result<RankedTensorType, CallError> {
        let mut kind = RankedTensorType::default();
        // SAFETY: a tensor of the live model, and a place for the result.
        self.library.check(action, unsafe { (self.library.0.tensor_type)(tensor, &raw mut kind) })?;
        Ok(kind)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let functions = self.library.0;
        // SAFETY: each handle is null or live and owned, nothing made from it lives on, and it is not used again.
        unsafe {
            if !self.model.is_null() {
                (functions.destroy_model)(self.model);
            }
            if !self.environment.is_null() {
                (functions.destroy_environment)(self.environment);
            }
        }
    }
}

/// Memory of the library for one tensor.
struct Buffer {
    handle: Handle,
    size_bytes: usize,
}

impl Buffer {
    const NONE: Self = Self { handle: null_mut(), size_bytes: 0 };
}

/// A model with one input and one output, ready to run. Owns its handles.
pub(super) struct Session {
    options: Handle,
    compiled: Handle,
    input: Buffer,
    output: Buffer,
    /// Last, so that it is dropped after what was made from it.
    model: Model,
}

impl Session {
    /// Makes a model ready to run on the CPU with so many threads.
    pub(super) fn new(model: Model, thread_count: u32) -> Result<Self, CallError> {
        let library = model.library;
        let functions = library.0;
        let mut session =
            Self { options: null_mut(), compiled: null_mut(), input: Buffer::NONE, output: Buffer::NONE, model };
        // SAFETY: a place for the result.
        library.check("create its options", unsafe { (functions.create_options)(&raw mut session.options) })?;
        // SAFETY: live options.
        library.check("choose the CPU", unsafe { (functions.set_accelerators)(session.options, CPU) })?;
        session.set_thread_count(thread_count)?;
        let (environment, model, options) = (session.model.environment, session.model.model, session.options);
        // SAFETY: live handles that live longer than the result, and a place for the result.
        let status = unsafe { (functions.compile)(environment, model, options, &raw mut session.compiled) };
        library.check("make the model ready to run", status)?;
        session.input =
            session.buffer("make room for the input", functions.input_tensor, functions.input_requirements)?;
        session.output =
            session.buffer("make room for the output", functions.output_tensor, functions.output_requirements)?;
        Ok(session)
    }

    fn set_thread_count(&self, thread_count: u32) -> Result<(), CallError> {
        let library = self.model.library;
        let text = CString::new(format!("num_threads = {thread_count}\n")).expect("no zero in it");
        let text = text.into_raw();
        let mut opaque = null_mut();
        // SAFETY: texts that end with 0; the library hands the second back to `free_text` exactly once.
        let status = unsafe { (library.0.create_opaque)(c"xnnpack".as_ptr(), text.cast(), free_text, &raw mut opaque) };
        if status != 0 {
            // SAFETY: the library did not take the text, which came from `into_raw`.
            unsafe { free_text(text.cast()) };
        }
        library.check("set the thread count", status)?;
        // SAFETY: live handles; on success the options own the second one.
        let status = unsafe { (library.0.add_opaque)(self.options, opaque) };
        if status != 0 {
            // SAFETY: live, still ours, and not used again.
            unsafe { (library.0.destroy_opaque)(opaque) };
        }
        library.check("set the thread count", status)
    }

    fn buffer(
        &self,
        action: &'static str,
        tensor_of: unsafe extern "C" fn(Handle, usize, *mut Handle) -> Status,
        requirements_of: unsafe extern "C" fn(Handle, usize, usize, *mut Handle) -> Status,
    ) -> Result<Buffer, CallError> {
        let library = self.model.library;
        let (mut tensor, mut requirements, mut buffer) = (null_mut(), null_mut(), Buffer::NONE);
        // SAFETY: a live signature, and a place for the result. An index that is too large is an error of the library.
        library.check(action, unsafe { tensor_of(self.model.signature, 0, &raw mut tensor) })?;
        let kind = self.model.tensor_type(action, tensor)?;
        // SAFETY: a live model, its first signature and tensor, and a place for the result, which the model keeps.
        library.check(action, unsafe { requirements_of(self.compiled, 0, 0, &raw mut requirements) })?;
        let environment = self.model.environment;
        // SAFETY: live handles, a type that is copied, and a place for the result, which is ours.
        let status =
            unsafe { (library.0.create_buffer)(environment, &raw const kind, requirements, &raw mut buffer.handle) };
        library.check(action, status)?;
        // SAFETY: a live buffer, and a place for the result.
        library.check(action, unsafe { (library.0.buffer_size)(buffer.handle, &raw mut buffer.size_bytes) })?;
        let address = self.locked(&buffer, LOCK_WRITE)?;
        // SAFETY: the library keeps so many bytes there for us until `unlock`. It does not say that they have a value;
        // after this they have, which the slices made below need.
        unsafe { address.write_bytes(0, buffer.size_bytes) };
        self.unlock(&buffer)?;
        Ok(buffer)
    }

    /// Lets `fill` write the input's bytes. The room may be longer than the tensor.
    pub(super) fn write_input<T>(&mut self, fill: impl FnOnce(&mut [u8]) -> T) -> Result<T, CallError> {
        let address = self.locked(&self.input, LOCK_WRITE)?;
        // SAFETY: the library keeps so many bytes for us until `unlock`, `buffer` has given them a value, and `&mut self`
        // keeps everybody else away.
        let result = fill(unsafe { std::slice::from_raw_parts_mut(address, self.input.size_bytes) });
        self.unlock(&self.input).map(|()| result)
    }

    /// Executes the model once.
    pub(super) fn run(&mut self) -> Result<(), CallError> {
        let library = self.model.library;
        let (input, output) = (&raw mut self.input.handle, &raw mut self.output.handle);
        // SAFETY: a live model, its first signature, and as many live buffers as it has inputs and outputs.
        library.check("run the model", unsafe { (library.0.run)(self.compiled, 0, 1, input, 1, output) })
    }

    /// Lets `take` read the output's bytes. They may be longer than the tensor.
    pub(super) fn read_output<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, CallError> {
        let address = self.locked(&self.output, LOCK_READ)?;
        // SAFETY: as in `write_input`; nobody writes until `unlock`.
        let result = take(unsafe { std::slice::from_raw_parts(address, self.output.size_bytes) });
        self.unlock(&self.output).map(|()| result)
    }

    fn locked(&self, buffer: &Buffer, mode: c_int) -> Result<*mut u8, CallError> {
        let library = self.model.library;
        let mut address = null_mut();
        // SAFETY: a live buffer that is not locked, and a place for the result.
        library.check("reach a tensor", unsafe { (library.0.lock)(buffer.handle, &raw mut address, mode) })?;
        assert!(!address.is_null(), "LiteRT locked a tensor at no address");
        Ok(address.cast())
    }

    fn unlock(&self, buffer: &Buffer) -> Result<(), CallError> {
        let library = self.model.library;
        // SAFETY: a live buffer that `locked` has locked.
        library.check("release a tensor", unsafe { (library.0.unlock)(buffer.handle) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let functions = self.model.library.0;
        // SAFETY: each handle is null or live and owned, destroyed before what it was made from, and not used again.
        unsafe {
            for buffer in [&self.input, &self.output] {
                if !buffer.handle.is_null() {
                    (functions.destroy_buffer)(buffer.handle);
                }
            }
            if !self.compiled.is_null() {
                (functions.destroy_compiled)(self.compiled);
            }
            if !self.options.is_null() {
                (functions.destroy_options)(self.options);
            }
        }
    }
}

/// Gives a text from `CString::into_raw` back.
unsafe extern "C" fn free_text(text: *mut c_void) {
    // SAFETY: the library calls this once, with the pointer that it was given.
    drop(unsafe { CString::from_raw(text.cast()) });
}

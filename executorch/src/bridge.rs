//! `bridge.cpp`, and safe Rust on top of it.
//!
//! The only file of this crate with `unsafe`. Layouts and signatures are those of `bridge.cpp`, built together with it.

#![expect(unsafe_code, reason = "a C++ library cannot be called otherwise; everything else goes through `Program`")]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null_mut};
use std::sync::Once;

const RANK_MAX: usize = 8;

/// ExecuTorch's number of float32.
const FLOAT32: i32 = 6;

/// Bytes of a log that are told; `bridge.cpp` keeps no more.
const LOG_BYTES_MAX: usize = 1000;

/// ExecuTorch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    name: String,
    log: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if self.log.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.log) }
    }
}

impl std::error::Error for CallError {}

/// A tensor as a program states it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tensor {
    dtype: i32,
    rank: u32,
    sizes: [i32; RANK_MAX],
    size_bytes: usize,
    is_contiguous: bool,
}

impl Tensor {
    /// Dimensions, of a float32 tensor in the usual order with no dimension of 0.
    pub(crate) fn float32_shape(&self) -> Option<Vec<u32>> {
        let sizes = self.sizes.get(..usize::try_from(self.rank).ok()?)?;
        let shape: Vec<u32> =
            sizes.iter().map_while(|&size| u32::try_from(size).ok().filter(|&size| size > 0)).collect();
        let is_usual = self.dtype == FLOAT32 && self.is_contiguous && shape.len() == sizes.len();
        is_usual.then_some(shape)
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            -1 => return formatter.write_str("something that is no tensor"),
            0 => formatter.write_str("uint8")?,
            1 => formatter.write_str("int8")?,
            3 => formatter.write_str("int32")?,
            4 => formatter.write_str("int64")?,
            5 => formatter.write_str("float16")?,
            FLOAT32 => formatter.write_str("float32")?,
            7 => formatter.write_str("float64")?,
            other => write!(formatter, "type {other}")?,
        }
        match self.sizes.get(..usize::try_from(self.rank).unwrap_or(usize::MAX)) {
            Some(sizes) => write!(formatter, " {sizes:?}")?,
            None => write!(formatter, " of {} dimensions", self.rank)?,
        }
        if self.is_contiguous { Ok(()) } else { formatter.write_str(" with its dimensions in another order") }
    }
}

/// What a program says of its method `forward`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) input_count: usize,
    pub(crate) output_count: usize,
    /// The first input.
    pub(crate) input: Tensor,
    /// The first output.
    pub(crate) output: Tensor,
}

#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn tinywatt_executorch_start();
    fn tinywatt_executorch_library() -> *const c_char;
    fn tinywatt_executorch_error(error: u32) -> *const c_char;
    fn tinywatt_executorch_log(to: *mut u8, size: usize) -> usize;
    fn tinywatt_executorch_open(path: *const c_char, program: *mut *mut Opaque, facts: *mut Facts) -> u32;
    fn tinywatt_executorch_prepare(
        program: *mut Opaque,
        shape: *const Tensor,
        threads: u32,
        input: *mut *mut u8,
    ) -> u32;
    fn tinywatt_executorch_run(program: *mut Opaque) -> u32;
    fn tinywatt_executorch_output(program: *const Opaque, output: *mut Tensor) -> *const u8;
    fn tinywatt_executorch_close(program: *mut Opaque);
}

/// The library's file, as the system found it.
pub(crate) fn library() -> Option<PathBuf> {
    // SAFETY: the name, where there is one, lives as long as the library is loaded, which is for ever.
    let name = unsafe {
        let name = tinywatt_executorch_library();
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }?;
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

fn check(error: u32) -> Result<(), CallError> {
    if error == 0 {
        return Ok(());
    }
    // SAFETY: a constant string of the library for every number.
    let name = unsafe { CStr::from_ptr(tinywatt_executorch_error(error)) }.to_string_lossy().into_owned();
    let mut log = vec![0; LOG_BYTES_MAX];
    // SAFETY: that many bytes are ours to write.
    let length = unsafe { tinywatt_executorch_log(log.as_mut_ptr(), log.len()) };
    log.truncate(length);
    Err(CallError { name, log: String::from_utf8_lossy(&log).into_owned() })
}

/// A program's file, opened.
#[derive(Debug)]
pub(crate) struct Program {
    handle: NonNull<Opaque>,
    facts: Facts,
}

/// A program that can be executed: one float32 input in the usual order.
#[derive(Debug)]
pub(crate) struct Ready {
    program: Program,
    input: NonNull<u8>,
}

impl Program {
    /// Reads a file and verifies it.
    pub(crate) fn open(path: &Path) -> Result<Self, CallError> {
        static START: Once = Once::new();
        // SAFETY: called once, before anything else of the library.
        START.call_once(|| unsafe { tinywatt_executorch_start() });
        let name = CString::new(path.as_os_str().to_owned().into_vec())
            .map_err(|_| CallError { name: "the path contains a NUL".to_owned(), log: String::new() })?;
        let (mut handle, mut facts) = (null_mut(), Facts::default());
        // SAFETY: the name ends in NUL, and both results are ours to write.
        check(unsafe { tinywatt_executorch_open(name.as_ptr(), &raw mut handle, &raw mut facts) })?;
        let handle = NonNull::new(handle).expect("a program without an error is there");
        Ok(Self { handle, facts })
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Loads the method; its input must be a float32 tensor in the usual order.
    pub(crate) fn prepare(self, thread_count: u32) -> Result<Ready, CallError> {
        assert!(self.facts.input.float32_shape().is_some(), "looked at before");
        let mut input = null_mut();
        let shape = &raw const self.facts.input;
        // SAFETY: the handle is open, and the bridge makes an input as large as the shape says.
        check(unsafe { tinywatt_executorch_prepare(self.handle.as_ptr(), shape, thread_count, &raw mut input) })?;
        let input = NonNull::new(input).expect("an input without an error is there");
        Ok(Ready { program: self, input })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: open until now, and nobody has it any more.
        unsafe { tinywatt_executorch_close(self.handle.as_ptr()) }
    }
}

impl Ready {
    /// All bytes of the input.
    pub(crate) fn input(&mut self) -> &mut [u8] {
        // SAFETY: the bridge made that many, they live as long as the program, and `&mut self` lends them once.
        unsafe { std::slice::from_raw_parts_mut(self.input.as_ptr(), self.program.facts.input.size_bytes) }
    }

    /// Executes the program on its input.
    pub(crate) fn run(&mut self) -> Result<(), CallError> {
        // SAFETY: the handle is open and prepared.
        check(unsafe { tinywatt_executorch_run(self.program.handle.as_ptr()) })
    }

    /// What the last run gave, and what it is.
    pub(crate) fn output(&self) -> Option<(Tensor, &[u8])> {
        let mut output = Tensor::default();
        // SAFETY: the handle is open, and the result is ours to write.
        let bytes = unsafe { tinywatt_executorch_output(self.program.handle.as_ptr(), &raw mut output) };
        let bytes = NonNull::new(bytes.cast_mut())?;
        // SAFETY: the tensor has that many bytes, and they stay until the next run, which needs `&mut self`.
        Some((output, unsafe { std::slice::from_raw_parts(bytes.as_ptr(), output.size_bytes) }))
    }
}

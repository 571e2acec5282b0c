//! ExecuTorch programs (`.pte`) as a worker's runtime.
//!
//! A program states its own input and output, so it needs no card. Those with one float32 input, with a batch of 1, and
//! one float32 output are executed; integers, where a program is quantised, stay inside it.

use std::path::{Path, PathBuf};

use tinywatt_agent::inference::model::{self, ModelRequest, Reason};
use tinywatt_agent::inference::package;
use tinywatt_agent::inference::tensor::{Element, TensorInfo};

use crate::VERSION;
use crate::bridge::{self, Program, Ready};

pub use crate::bridge::CallError;

/// A program cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The library that was found is another than the program was built with.
    #[error(
        "{library} is ExecuTorch {found}, and this program was built with {VERSION}: install that one there, or build \
         the program anew"
    )]
    Library {
        /// The library.
        library: PathBuf,
        /// Its version.
        found: String,
    },
    /// The experiment wants an engine.
    #[error("ExecuTorch has no engine '{asked}' to choose: leave `engine` out")]
    Engine {
        /// The experiment's word.
        asked: String,
    },
    /// The file cannot be read, or is no program with a method `forward`.
    #[error("ExecuTorch {VERSION} does not open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CallError,
    },
    /// ExecuTorch does not load its method.
    #[error("ExecuTorch {VERSION} does not load {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CallError,
    },
    /// ExecuTorch does not execute it.
    #[error("ExecuTorch {VERSION} does not execute {path}")]
    Execute {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CallError,
    },
    /// It has several inputs or outputs, or none.
    #[error("{path} has {input_count} inputs and {output_count} outputs; one of each can be executed")]
    Ends {
        /// The file.
        path: PathBuf,
        /// Number of inputs.
        input_count: usize,
        /// Number of outputs.
        output_count: usize,
    },
    /// Its input cannot be made.
    #[error("{path} takes {found}; float32 with a batch of 1 can be executed: export it for one input at a time")]
    Input {
        /// The file.
        path: PathBuf,
        /// What it takes.
        found: String,
    },
    /// Its output cannot be read.
    #[error("{path} gives {found}; float32 with a batch of 1 can be read")]
    Output {
        /// The file.
        path: PathBuf,
        /// What it gives.
        found: String,
    },
}

/// Checks that the library that was found is the release that the program was built with: the layout of its classes is
/// another in every release. A folder without the wheel's `version.py` cannot be checked.
///
/// # Errors
/// [`ProgramError::Library`].
pub fn check_library() -> Result<(), ProgramError> {
    let Some(library) = bridge::library() else { return Ok(()) };
    let Some(folder) = library.parent().and_then(Path::parent).filter(|folder| folder.join("version.py").exists())
    else {
        return Ok(());
    };
    let found = package::version(folder).unwrap_or_else(|| "of no known version".to_owned());
    if found == VERSION { Ok(()) } else { Err(ProgramError::Library { library, found }) }
}

/// ExecuTorch as a worker's runtime.
#[derive(Debug, Default)]
pub struct ExecuTorch;

impl model::Runtime for ExecuTorch {
    type Model = Module;

    fn open(&mut self, _: Option<&Path>) -> Result<(), Reason> {
        // Linked: a process that got here has a library.
        Ok(check_library()?)
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn load(&mut self, request: ModelRequest<'_>) -> Result<Module, Reason> {
        Ok(Module::load(request)?)
    }
}

/// A program with one input and one output.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    program: Ready,
    input: TensorInfo,
    output: TensorInfo,
}

impl Module {
    /// Loads a program, and runs it once on zeros to see that it does.
    ///
    /// # Errors
    /// Any [`ProgramError`].
    pub fn load(request: ModelRequest<'_>) -> Result<Self, ProgramError> {
        let path = || request.path.to_owned();
        if !request.engine.is_empty() {
            return Err(ProgramError::Engine { asked: request.engine.to_owned() });
        }
        let program = Program::open(request.path).map_err(|source| ProgramError::Open { path: path(), source })?;
        let facts = *program.facts();
        let (input_count, output_count) = (facts.input_count, facts.output_count);
        if (input_count, output_count) != (1, 1) {
            return Err(ProgramError::Ends { path: path(), input_count, output_count });
        }
        let float32 = |shape| TensorInfo { element: Element::Float32, shape, quantisation: None };
        let one = |shape: &Vec<u32>| shape.first() == Some(&1);
        let input = facts.input.float32_shape().filter(one).map(float32);
        let input = input.filter(|input| input.size_bytes().is_some_and(|bytes| bytes <= model::INPUT_BYTES_MAX));
        let Some(input) = input else {
            return Err(ProgramError::Input { path: path(), found: facts.input.to_string() });
        };
        let Some(output) = facts.output.float32_shape().filter(one).map(float32) else {
            return Err(ProgramError::Output { path: path(), found: facts.output.to_string() });
        };
        let ready = program.prepare(request.thread_count.max(1));
        let program = ready.map_err(|source| ProgramError::Load { path: path(), source })?;
        let mut loaded = Self { path: path(), program, input, output };
        loaded.execute()?;
        loaded.result()?;
        Ok(loaded)
    }

    fn execute(&mut self) -> Result<(), ProgramError> {
        self.program.run().map_err(|source| ProgramError::Execute { path: self.path.clone(), source })
    }

    /// The bytes of the output, which may be smaller than stated where a program's shapes are not fixed.
    fn result(&self) -> Result<&[u8], ProgramError> {
        let wrong = |found: String| ProgramError::Output { path: self.path.clone(), found };
        let (tensor, bytes) = self.program.output().ok_or_else(|| wrong("something that is no tensor".to_owned()))?;
        let is_stated = tensor.float32_shape().as_ref() == Some(&self.output.shape);
        if is_stated { Ok(bytes) } else { Err(wrong(format!("{tensor}, and states {}", self.output))) }
    }
}

impl model::Model for Module {
    fn input(&self) -> &TensorInfo {
        &self.input
    }

    fn output(&self) -> &TensorInfo {
        &self.output
    }

    fn write_input(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<(), Reason> {
        fill(self.program.input());
        Ok(())
    }

    fn run(&mut self) -> Result<(), Reason> {
        Ok(self.execute()?)
    }

    fn read_output<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, Reason> {
        Ok(take(self.result()?))
    }
}

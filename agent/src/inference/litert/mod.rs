//! LiteRT, the official runtime of `.tflite` models, opened at run time.
//!
//! [`Library`] checks and opens it, [`Model`] runs one model with one input and one output. Safe Rust on top of `ffi`.

mod ffi;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use self::ffi::{CallError, OpenError};
use super::locate::Surroundings;
use super::model::{self, ModelRequest, Reason};
use super::release::{self, ReleaseError};
use super::tensor::{Element, Quantisation, TensorInfo};

/// LiteRT as a worker's runtime.
pub struct LiteRt {
    surroundings: Surroundings,
    library: Option<Library>,
}

impl LiteRt {
    /// Looks for the library in these surroundings when it is opened.
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, library: None }
    }
}

impl model::Runtime for LiteRt {
    type Model = Model;

    fn open(&mut self, library: Option<&Path>) -> Result<(), Reason> {
        self.library = Some(Library::open(&self.surroundings.find_library(library)?)?);
        Ok(())
    }

    fn version(&self) -> String {
        release::VERSION.to_owned()
    }

    fn load(&mut self, request: ModelRequest<'_>) -> Result<Model, Reason> {
        let library = self.library.ok_or("LiteRT was not opened")?;
        if !request.engine.is_empty() {
            return Err(format!("LiteRT has no engine '{}' to choose: leave `engine` out", request.engine).into());
        }
        Ok(Model::load(library, request.path, request.thread_count)?)
    }
}

/// The library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It is not the release that this agent knows.
    #[error("the LiteRT library was refused")]
    Release(#[source] ReleaseError),
    /// It cannot be opened.
    #[error("the LiteRT library {path} cannot be used; `agent runtime install` fetches LiteRT {}", release::VERSION)]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
}

/// A model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("failed to read the model {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a .tflite model (the mark \"TFL3\" is missing at byte 4)")]
    NotAModel {
        /// The file.
        path: PathBuf,
    },
    /// The runtime refused it.
    #[error("the model {path} is corrupt, or has what LiteRT {} cannot do", release::VERSION)]
    Refused {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: CallError,
    },
    /// It has more than one input or output, or none.
    #[error("the model {path} has {input_count} inputs and {output_count} outputs; one of each is needed")]
    Count {
        /// The file.
        path: PathBuf,
        /// Inputs.
        input_count: usize,
        /// Outputs.
        output_count: usize,
    },
    /// A tensor has a type that no input or output may have here.
    #[error("the model {path} has an {side} of {element}; float32, int8 and uint8 can be executed")]
    Element {
        /// The file.
        path: PathBuf,
        /// "input" or "output".
        side: &'static str,
        /// The type.
        element: String,
    },
    /// A tensor's dimensions are not all fixed and positive.
    #[error(
        "the model {path} has an {side} of shape {dimensions:?}, and every dimension must be fixed: export it with a \
         batch of 1 (Keras: `batch_shape=(1, …)`)"
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// "input" or "output".
        side: &'static str,
        /// The dimensions.
        dimensions: Vec<i32>,
    },
    /// A tensor's integers stand for no real values.
    #[error("the model {path} has an {side} with an unusable scale ({scale})")]
    Scale {
        /// The file.
        path: PathBuf,
        /// "input" or "output".
        side: &'static str,
        /// What it has.
        scale: String,
    },
}

/// The opened library.
#[derive(Clone, Copy)]
pub struct Library(ffi::Library);

impl Library {
    /// Opens the library after comparing it with the known release.
    ///
    /// # Errors
    /// Any [`LibraryError`].
    pub fn open(path: &Path) -> Result<Self, LibraryError> {
        release::check(path).map_err(LibraryError::Release)?;
        let open = |source| LibraryError::Open { path: path.to_owned(), source };
        ffi::Library::open(path).map(Self).map_err(open)
    }
}

/// A model with one input and one output, ready to run.
pub struct Model {
    session: ffi::Session,
    input: TensorInfo,
    output: TensorInfo,
    input_bytes: usize,
    output_bytes: usize,
}

impl Model {
    /// Loads a model for the CPU with so many threads.
    ///
    /// A corrupt file can take the process down; that is why models run in a process of their own.
    ///
    /// # Errors
    /// Any [`ModelError`].
    pub fn load(library: Library, path: &Path, thread_count: u32) -> Result<Self, ModelError> {
        let refused = |source| ModelError::Refused { path: path.to_owned(), source };
        check_mark(path)?;
        let text = CString::new(path.as_os_str().as_bytes()).map_err(|error| ModelError::Read {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
        let model = ffi::Model::read(library.0, &text).map_err(refused)?;
        let (inputs, outputs) = (model.inputs().map_err(refused)?, model.outputs().map_err(refused)?);
        let ([input], [output]) = (&inputs[..], &outputs[..]) else {
            let (input_count, output_count) = (inputs.len(), outputs.len());
            return Err(ModelError::Count { path: path.to_owned(), input_count, output_count });
        };
        let (input, output) = (describe(path, "input", input)?, describe(path, "output", output)?);
        let mut session = ffi::Session::new(model, thread_count).map_err(refused)?;
        let input_bytes = session.write_input(|room| fitting(path, "input", &input, room.len())).map_err(refused)??;
        let output_bytes =
            session.read_output(|room| fitting(path, "output", &output, room.len())).map_err(refused)??;
        Ok(Self { session, input, output, input_bytes, output_bytes })
    }
}

impl model::Model for Model {
    fn input(&self) -> &TensorInfo {
        &self.input
    }

    fn output(&self) -> &TensorInfo {
        &self.output
    }

    fn write_input(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<(), Reason> {
        let input_bytes = self.input_bytes;
        Ok(self.session.write_input(|room| fill(&mut room[..input_bytes]))?)
    }

    fn run(&mut self) -> Result<(), Reason> {
        Ok(self.session.run()?)
    }

    fn read_output<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, Reason> {
        let output_bytes = self.output_bytes;
        Ok(self.session.read_output(|room| take(&room[..output_bytes]))?)
    }
}

/// Looks for the mark of the format, so that a wrong file is named as such.
fn check_mark(path: &Path) -> Result<(), ModelError> {
    let mut start = Vec::with_capacity(8);
    let read = |source| ModelError::Read { path: path.to_owned(), source };
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).map_err(read)?;
    let marked = start.get(4..8) == Some(b"TFL3");
    marked.then_some(()).ok_or_else(|| ModelError::NotAModel { path: path.to_owned() })
}

fn describe(path: &Path, side: &'static str, tensor: &ffi::Tensor) -> Result<TensorInfo, ModelError> {
    let path = || path.to_owned();
    let element = match tensor.element {
        1 => Element::Float32,
        3 => Element::Uint8,
        9 => Element::Int8,
        other => return Err(ModelError::Element { path: path(), side, element: element_name(other) }),
    };
    let fixed = |&dimension| u32::try_from(dimension).ok().filter(|&dimension| dimension > 0);
    let shape = tensor.dimensions.iter().map(fixed).collect::<Option<Vec<_>>>();
    let shape = shape.filter(|shape| !shape.is_empty());
    let shape = shape.ok_or_else(|| ModelError::Shape { path: path(), side, dimensions: tensor.dimensions.clone() })?;
    let quantisation = match tensor.quantisation {
        ffi::Scale::PerTensor { scale, zero_point } if element != Element::Float32 => {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(ModelError::Scale { path: path(), side, scale: scale.to_string() });
            }
            Some(Quantisation { scale, zero_point })
        }
        ffi::Scale::Other => return Err(ModelError::Scale { path: path(), side, scale: "not one for all".to_owned() }),
        ffi::Scale::None | ffi::Scale::PerTensor { .. } => None,
    };
    Ok(TensorInfo { element, shape, quantisation })
}

/// Names of `LiteRtElementType` that models are seen with.
fn element_name(element: i32) -> String {
    let name = match element {
        2 => "int32",
        4 => "int64",
        5 => "string",
        6 => "bool",
        7 => "int16",
        10 => "float16",
        11 => "float64",
        _ => return format!("element type {element}"),
    };
    name.to_owned()
}

/// The tensor's size when it fits into the room that the runtime made for it.
fn fitting(path: &Path, side: &'static str, tensor: &TensorInfo, room_bytes: usize) -> Result<usize, ModelError> {
    let fits = tensor.size_bytes().filter(|&size_bytes| size_bytes <= room_bytes);
    fits.ok_or_else(|| ModelError::Shape {
        path: path.to_owned(),
        side,
        dimensions: tensor.shape.iter().map(|&dimension| i32::try_from(dimension).unwrap_or(i32::MAX)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(element: i32, dimensions: &[i32], quantisation: ffi::Scale) -> ffi::Tensor {
        ffi::Tensor { element, dimensions: dimensions.to_vec(), quantisation }
    }

    fn describe_it(tensor: &ffi::Tensor) -> Result<TensorInfo, ModelError> {
        describe(Path::new("m.tflite"), "input", tensor)
    }

    #[test]
    fn a_quantised_tensor_keeps_its_scale_and_a_float_one_has_none() {
        let scale = ffi::Scale::PerTensor { scale: 0.5, zero_point: -3 };
        let int8 = describe_it(&tensor(9, &[1, 4], scale)).expect("fits");
        assert_eq!(int8.quantisation, Some(Quantisation { scale: 0.5, zero_point: -3 }));
        assert_eq!(describe_it(&tensor(1, &[1, 4], scale)).expect("fits").quantisation, None);
    }

    #[test]
    fn an_open_batch_is_refused_with_the_way_out() {
        let text = describe_it(&tensor(1, &[-1, 8, 8, 1], ffi::Scale::None)).expect_err("open").to_string();
        assert!(text.contains("[-1, 8, 8, 1]") && text.contains("batch_shape"), "{text}");
        assert!(describe_it(&tensor(1, &[], ffi::Scale::None)).is_err());
    }

    #[test]
    fn unknown_elements_and_useless_scales_are_named() {
        let text = describe_it(&tensor(7, &[1], ffi::Scale::None)).expect_err("int16").to_string();
        assert!(text.contains("int16"), "{text}");
        for scale in [0.0, -1.0, f32::NAN] {
            let scale = ffi::Scale::PerTensor { scale, zero_point: 0 };
            assert!(matches!(describe_it(&tensor(9, &[1], scale)), Err(ModelError::Scale { .. })));
        }
    }

    #[test]
    fn a_text_file_is_not_a_model() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("notes.tflite");
        for content in ["", "hello", "a text that is long enough"] {
            std::fs::write(&path, content).expect("written");
            assert!(matches!(check_mark(&path), Err(ModelError::NotAModel { .. })), "{content:?}");
        }
        assert!(matches!(check_mark(&folder.path().join("missing")), Err(ModelError::Read { .. })));
    }
}

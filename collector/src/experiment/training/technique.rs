//! Optimisations by framework, and what executes their models.

use super::Trainer;

/// From a trained model to a deployable one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Technique {
    /// As experiments and reports name it.
    pub(in super::super) name: String,
    /// What executes the model.
    pub(in super::super) runtime: String,
    /// Quantised engine that a TorchScript model is made for; empty: as the model says.
    pub(in super::super) engine: String,
}

impl Technique {
    /// Whether its engine is not part of what it is, so that the experiment may choose: dynamic models of torch.
    pub(super) fn has_engine_to_choose(&self) -> bool {
        self.runtime == "torchscript" && self.name == DYNAMIC
    }
}

const DYNAMIC: &str = "dynamic";

/// The technique that needs no job: what training gives, as it is.
pub(super) const FLOAT32: &str = "float32";

/// Quantised engines of TorchScript, as experiments name them.
pub(in super::super) const ENGINES: [&str; 2] = ["fbgemm", "qnnpack"];

/// Techniques of Keras models, all for LiteRT.
const KERAS: [&str; 8] = [FLOAT32, "dynamic-range", "full-integer", "float16", "int16x8", "pruned", "clustered", "qat"];

/// Techniques of torch with runtime and engine.
const TORCH: [(&str, &str, &str); 6] = [
    (FLOAT32, "torchscript", ""),
    ("static-fbgemm", "torchscript", "fbgemm"),
    ("static-qnnpack", "torchscript", "qnnpack"),
    (DYNAMIC, "torchscript", ""),
    ("pruned", "torchscript", ""),
    ("executorch-int8", "executorch", ""),
];

/// Finds a technique of a trainer; `runtime` is that of an own trainer's models.
///
/// # Errors
/// What is wrong, with those that are known.
pub(super) fn technique(trainer: &Trainer, name: &str, runtime: &str) -> Result<Technique, String> {
    let technique = |runtime: &str, engine: &str| Technique {
        name: name.to_owned(),
        runtime: runtime.to_owned(),
        engine: engine.to_owned(),
    };
    let known: Vec<&str> = match trainer {
        Trainer::Keras if KERAS.contains(&name) => return Ok(technique("litert", "")),
        Trainer::Keras => KERAS.to_vec(),
        Trainer::Torch => {
            if let Some((_, runtime, engine)) = TORCH.iter().find(|(known, ..)| *known == name) {
                return Ok(technique(runtime, engine));
            }
            TORCH.iter().map(|(name, ..)| *name).collect()
        }
        Trainer::Tch if name == FLOAT32 => return Ok(technique("torchscript", "")),
        Trainer::Tch => {
            return Err(format!(
                "'{name}' is not a technique of tch, which trains and does not optimise; known: {FLOAT32}"
            ));
        }
        Trainer::Own { optimise, .. } if name == FLOAT32 || optimise.is_some() => return Ok(technique(runtime, "")),
        Trainer::Own { .. } => {
            return Err(format!(
                "'{name}' needs a command that makes it; add optimise_command, or use {FLOAT32} alone"
            ));
        }
    };
    Err(format!("'{name}' is not a technique of {}; known: {}", trainer.name(), known.join(", ")))
}

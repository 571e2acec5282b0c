//! Who trains.

/// A trainer: one of those that come with the program, or a command of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Trainer {
    /// TensorFlow, in Python.
    Keras,
    /// PyTorch, in Python.
    Torch,
    /// PyTorch, in Rust. Its untrained module is built by [`Trainer::Torch`].
    Tch,
    /// Any program that keeps to the job contract.
    Own {
        /// Program and arguments.
        command: Vec<String>,
        /// What is done before, not metered.
        prepare: Vec<String>,
        /// What optimises.
        optimise: Option<Vec<String>>,
        /// Name in reports.
        framework: String,
    },
}

/// Names that experiments use.
pub(super) const NAMES: [&str; 3] = ["keras", "torch", "tch"];

impl Trainer {
    /// One of those that come with the program.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "keras" => Some(Self::Keras),
            "torch" => Some(Self::Torch),
            "tch" => Some(Self::Tch),
            _ => None,
        }
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Keras => "keras",
            Self::Torch => "torch",
            Self::Tch => "tch",
            Self::Own { .. } => "command",
        }
    }

    /// Its name in reports.
    pub(super) fn framework(&self) -> &str {
        match self {
            Self::Keras => "tensorflow",
            Self::Torch => "torch",
            Self::Tch => "tch",
            Self::Own { framework, .. } => framework,
        }
    }

    /// Whether we wrote it, and so know its keys.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self, Self::Own { .. })
    }

    /// What trains: the command, and what is done before.
    pub(super) fn train(&self) -> (Vec<String>, Vec<String>) {
        match self {
            Self::Keras => python("keras"),
            Self::Torch => python("torch"),
            Self::Tch => (words(&["collector", "train"]), Vec::new()),
            Self::Own { command, prepare, .. } => (command.clone(), prepare.clone()),
        }
    }

    /// What builds the untrained module that the trainer starts from, for those that cannot build one.
    pub(super) fn build(&self) -> Option<(Vec<String>, Vec<String>)> {
        matches!(self, Self::Tch).then(|| python("torch"))
    }

    /// What optimises.
    pub(super) fn optimise(&self) -> (Vec<String>, Vec<String>) {
        match self {
            Self::Own { optimise: Some(command), prepare, .. } => (command.clone(), prepare.clone()),
            trainer => trainer.train(),
        }
    }
}

fn python(name: &str) -> (Vec<String>, Vec<String>) {
    (words(&["collector", "trainer", "run", name]), words(&["collector", "trainer", "install", name]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

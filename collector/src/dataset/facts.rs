//! What is known of each data set before a byte of it is read.

use super::Kind;

/// A data set in words and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// One sentence.
    pub about: &'static str,
    /// An input.
    pub input: &'static str,
    /// Training, validation and test inputs; `None` when the files decide.
    pub counts: Option<[u32; 3]>,
    /// Number of classes; `None` when the files decide.
    pub class_count: Option<u32>,
    /// What its publisher allows.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// Where its publisher describes it.
    pub home: &'static str,
}

impl Kind {
    /// What is known of it.
    pub fn facts(self) -> Facts {
        match self {
            Self::Digits => Facts {
                about: "handwritten digits, built in",
                input: "8×8×1, 0 to 16",
                counts: Some([1_213, 134, 450]),
                class_count: Some(10),
                licence: "CC BY 4.0",
                citation: "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. \
                    UCI Machine Learning Repository, 1998, doi:10.24432/C50P49",
                home: "https://archive.ics.uci.edu/dataset/80",
            },
            Self::Cifar10 => Facts {
                about: "small photographs of ten kinds of things",
                input: "32×32×3, 0 to 255",
                counts: Some([45_000, 5_000, 10_000]),
                class_count: Some(10),
                licence: "none stated; its author asks to be cited",
                citation: "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. \
                    Technical report, University of Toronto, 2009",
                home: "https://www.cs.toronto.edu/~kriz/cifar.html",
            },
            Self::Svhn => Facts {
                about: "cropped digits of house numbers in street photographs",
                input: "32×32×3, 0 to 255",
                counts: Some([68_257, 5_000, 26_032]),
                class_count: Some(10),
                licence: "non-commercial use only",
                citation: "Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng: Reading Digits in Natural Images \
                    with Unsupervised Feature Learning. NIPS workshop, 2011",
                home: "http://ufldl.stanford.edu/housenumbers/",
            },
            Self::Kws => Facts {
                about: "spoken keywords as MLPerf Tiny gives them to its reference model; to infer with only",
                input: "49×10×1, quantised",
                counts: None,
                class_count: Some(12),
                licence: "CC BY 4.0 (the recordings)",
                citation: "P. Warden: Speech Commands. arXiv:1804.03209, 2018; \
                    C. Banbury et al.: MLPerf Tiny Benchmark. arXiv:2106.07597, 2021",
                home: "https://github.com/mlcommons/tiny",
            },
            Self::File => Facts {
                about: "your own, see collector/data/README.md",
                input: "any, bytes",
                counts: None,
                class_count: None,
                licence: "yours",
                citation: "yours",
                home: "a file, or a folder with train.twin, validation.twin and test.twin",
            },
        }
    }
}

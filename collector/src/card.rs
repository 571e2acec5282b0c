//! The card in a TorchScript module's file: what the file tells of its model beside code and weights.

use std::io::{self, Read, Seek};

use tinywatt_proto::card::{BYTES_MAX, ModelCard, NAME, SCHEMA, is_card};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::tflite::Precision;

/// A module says nothing of itself. Whoever shows it names the file.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The file is something else.
    #[error("it is not a TorchScript module, or a damaged one (no readable zip archive)")]
    NotAModule(#[source] ZipError),
    /// There is no card.
    #[error(
        "it carries no card, so nobody knows the engine and the input that it was made for; save it with \
         torch.jit.save(module, path, _extra_files={{\"{NAME}\": …}}), a JSON object of schema \"{SCHEMA}\", runtime, \
         engine, technique, input_shape, input_dtype and class_count"
    )]
    Missing,
    /// The card cannot be read.
    #[error("its card {NAME} is not readable")]
    Unreadable(#[source] io::Error),
    /// The card is of another schema.
    #[error("its card is of schema '{0}', and only '{SCHEMA}' is known; update the collector, or save it again")]
    Schema(String),
}

/// Reads the card of a module.
///
/// # Errors
/// Any [`CardError`].
pub fn read(module: impl Read + Seek) -> Result<ModelCard, CardError> {
    let mut archive = ZipArchive::new(module).map_err(CardError::NotAModule)?;
    let name = archive.file_names().filter_map(Result::ok).find(|name| is_card(name)).map(|name| name.into_owned());
    let name = name.ok_or(CardError::Missing)?;
    let entry = archive.by_name(&name).map_err(|error| CardError::Unreadable(io::Error::other(error)))?;
    let mut text = Vec::new();
    entry.take(BYTES_MAX).read_to_end(&mut text).map_err(CardError::Unreadable)?;
    let card: ModelCard = serde_json::from_slice(&text).map_err(|error| CardError::Unreadable(error.into()))?;
    if card.schema == SCHEMA { Ok(card) } else { Err(CardError::Schema(card.schema)) }
}

/// The number format of a module, in the words of a report; empty for a technique that tells of none.
///
/// A static module computes in 8-bit integers between floating-point ends. A dynamic one holds 8-bit weights in its
/// dense layers alone, so that it keeps its own word: LiteRT's "dynamic-range" has them in its convolutions, too.
pub fn number_format(card: &ModelCard) -> String {
    match card.technique.as_str() {
        "float32" | "pruned" => Precision::Float32.to_string(),
        "static-fbgemm" | "static-qnnpack" => Precision::FullIntegerFloatIo.to_string(),
        "dynamic" => "dynamic".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::io::{Cursor, Write as _};
    use std::path::Path;

    use tinywatt_proto::chain::Chain;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// That of a static model of the digits.
    pub(crate) fn card() -> ModelCard {
        ModelCard {
            schema: SCHEMA.to_owned(),
            runtime: "torchscript".to_owned(),
            engine: "qnnpack".to_owned(),
            technique: "static-qnnpack".to_owned(),
            input_shape: vec![1, 8, 8, 1],
            input_dtype: "float32".to_owned(),
            class_count: 10,
            parameter_count: Some(7_000),
            mac_count: None,
        }
    }

    /// A module's file with this card.
    pub(crate) fn module(card: &ModelCard) -> Vec<u8> {
        archive(&[("m/data.pkl", b"pickle"), ("m/extra/tinywatt.json", &serde_json::to_vec(card).expect("JSON"))])
    }

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).expect("starts");
            writer.write_all(content).expect("written");
        }
        writer.finish().expect("finished").into_inner()
    }

    #[test]
    fn a_card_is_read() {
        assert_eq!(read(Cursor::new(module(&card()))).expect("read"), card());
    }

    #[test]
    fn modules_that_torch_saved_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../torch/tests/data");
        let words = ["float32", "static-fbgemm", "static-qnnpack", "dynamic"].map(|technique| {
            let file = File::open(folder.join(format!("digits-{technique}.pt"))).expect("it is there");
            let card = read(file).expect("it has a card");
            assert_eq!((card.technique.as_str(), card.input_shape.as_slice()), (technique, [1, 8, 8, 1].as_slice()));
            number_format(&card)
        });
        assert_eq!(words, ["float32", "full-integer-float-io", "full-integer-float-io", "dynamic"]);
    }

    #[test]
    fn what_is_no_card_says_what_to_do() {
        let refusal = |bytes: &[u8]| Chain(&read(Cursor::new(bytes)).expect_err("refused")).to_string();
        assert!(refusal(b"just notes").contains("not a TorchScript module"));
        let bare = refusal(&archive(&[("m/data.pkl", b"pickle")]));
        assert!(bare.contains("no card") && bare.contains("_extra_files={\"tinywatt.json\": …}"), "{bare}");
        assert!(refusal(&archive(&[("m/extra/tinywatt.json", b"{")])).contains("not readable: EOF"));
        let other = ModelCard { schema: "other.v9".to_owned(), ..card() };
        assert!(refusal(&module(&other)).contains("'other.v9'"));
        let whole = module(&card());
        for length in 0..whole.len() {
            assert!(read(Cursor::new(&whole[..length])).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_technique_is_told_in_the_words_of_a_report() {
        let of = |technique: &str| number_format(&ModelCard { technique: technique.to_owned(), ..card() });
        let words = ["float32", "pruned", "static-fbgemm", "static-qnnpack", "dynamic", "sparse"].map(of);
        assert_eq!(words, ["float32", "float32", "full-integer-float-io", "full-integer-float-io", "dynamic", ""]);
    }
}

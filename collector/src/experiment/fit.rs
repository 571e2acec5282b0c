//! Whether a model answers the questions that a data set asks.

use tinywatt_proto::card::ModelCard;
use tinywatt_proto::inputs::Encoding;

use super::training::ENGINES;
use crate::dataset::Dataset;
use crate::tflite::{Element, Model, Tensor};

/// Finds everything in which a model does not fit a data set; `file` names the model in the messages.
pub(super) fn misfits(model: &Model, dataset: &Dataset, file: &str) -> Vec<String> {
    let ([input], [output]) = (model.inputs.as_slice(), model.outputs.as_slice()) else {
        let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
        return vec![format!(
            "{file} has {inputs} inputs and {outputs} outputs; only classifiers with one of each can be measured"
        )];
    };
    let mut misfits = Vec::new();
    misfits.extend(shape_misfit(input, dataset, file));
    misfits.extend(element_misfit(input, dataset, file));
    misfits.extend(class_misfit(output, dataset, file));
    misfits
}

/// The engine of a module in which nothing is quantised.
const NO_ENGINE: &str = "none";

/// The only input of modules that a worker executes.
const FLOAT32: &str = "float32";

/// Finds everything in which a TorchScript module does not fit a data set, by its card.
pub(super) fn module_misfits(card: &ModelCard, dataset: &Dataset, file: &str) -> Vec<String> {
    let mut misfits = Vec::new();
    let (kind, inputs) = (dataset.kind, &dataset.inputs);
    if card.engine != NO_ENGINE && !ENGINES.contains(&card.engine.as_str()) {
        let known = ENGINES.join(", ");
        misfits.push(format!("{file} was made for the engine '{}'; known: {known}, {NO_ENGINE}", card.engine));
    }
    let takes = format!("{} {}", card.input_dtype, crosses(&card.input_shape));
    match card.input_shape.split_first() {
        Some((1, rest)) if rest == inputs.shape() => {}
        Some((batch, rest)) if rest == inputs.shape() => {
            misfits.push(format!("{file} takes {batch} inputs at a time ({takes}); export it with a batch of 1"));
        }
        _ => misfits.push(format!(
            "{file} takes {takes}, and an input of '{kind}' is {}; use the data set that the model was made for",
            crosses(inputs.shape())
        )),
    }
    if card.input_dtype != FLOAT32 {
        misfits.push(format!("{file} takes {}; modules with {FLOAT32} inputs can be measured", card.input_dtype));
    } else if inputs.encoding() == Encoding::Quantised {
        misfits.push(format!(
            "{file} takes {FLOAT32}, and the inputs of '{kind}' are int8 that already carry a model's quantisation; use \
             the full-integer model that they were made for"
        ));
    }
    if card.class_count != inputs.class_count() {
        let (own, classes) = (card.class_count, inputs.class_count());
        misfits.push(format!("{file} answers with {own} classes, and '{kind}' has {classes}"));
    }
    misfits
}

fn shape_misfit(input: &Tensor, dataset: &Dataset, file: &str) -> Option<String> {
    let expected: Vec<Option<u32>> = dataset.inputs.shape().iter().copied().map(Some).collect();
    let shape = crosses(dataset.inputs.shape());
    match input.shape.split_first() {
        // An open batch is set to one input by the agent.
        Some((None | Some(1), rest)) if rest == expected => None,
        Some((Some(batch), rest)) if rest == expected => {
            Some(format!("{file} takes {batch} inputs at a time ({input}); export it with a batch of 1"))
        }
        _ => Some(format!(
            "{file} takes {input}, and an input of '{}' is {shape}; use the data set that the model was made for",
            dataset.kind
        )),
    }
}

fn element_misfit(input: &Tensor, dataset: &Dataset, file: &str) -> Option<String> {
    match (dataset.inputs.encoding(), input.element) {
        (Encoding::Plain, Element::Float32) | (Encoding::Quantised, Element::Int8) => None,
        (Encoding::Plain, Element::Int8 | Element::Uint8) if input.quantisation.is_some() => None,
        (Encoding::Plain, Element::Int8 | Element::Uint8) => Some(format!(
            "{file} takes {} without a scale and zero point; convert it again with quantised inputs",
            input.element
        )),
        (Encoding::Plain, element) => {
            Some(format!("{file} takes {element}; models with float32, int8 or uint8 inputs can be measured"))
        }
        (Encoding::Quantised, element) => Some(format!(
            "{file} takes {element}, and the inputs of '{}' are int8 that already carry a model's quantisation; \
             use the full-integer model that they were made for",
            dataset.kind
        )),
    }
}

fn class_misfit(output: &Tensor, dataset: &Dataset, file: &str) -> Option<String> {
    let class_count = dataset.inputs.class_count();
    let numbers = output.shape.iter().skip(1).try_fold(1u32, |product, dimension| product.checked_mul((*dimension)?));
    if output.shape.len() > 1 && numbers == Some(class_count) {
        return None;
    }
    Some(format!("{file} answers with {output}, and '{}' has {class_count} classes", dataset.kind))
}

fn crosses(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join("×")
}

//! Whether a model answers the questions that a data set asks.

use tinywatt_proto::inputs::Encoding;

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

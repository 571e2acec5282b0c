//! Adam, with a state that can be kept. The library's own keeps its state to itself, and a training that goes on without
//! it is another training.
//!
//! Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1.

use tch::{TchError, Tensor};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// As in Keras and in the trainer for Python torch, so that the three compare.
const EPSILON: f64 = 1e-7;

/// The optimiser and its state: two moments for each parameter.
#[derive(Debug)]
pub(super) struct Adam {
    learning_rate: f64,
    step_count: i32,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    value: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Adam {
    /// Starts with moments of zero.
    pub(super) fn new(values: Vec<Tensor>, learning_rate: f64) -> Result<Self, TchError> {
        let parameter = |value: Tensor| -> Result<Parameter, TchError> {
            Ok(Parameter { first: value.f_zeros_like()?, second: value.f_zeros_like()?, value })
        };
        let parameters = values.into_iter().map(parameter).collect::<Result<_, _>>()?;
        Ok(Self { learning_rate, step_count: 0, parameters })
    }

    /// Steps down the gradient of a loss.
    pub(super) fn step(&mut self, loss: &Tensor) -> Result<(), TchError> {
        for parameter in &self.parameters {
            let mut gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                let _ = gradient.f_detach_()?.f_zero_()?;
            }
        }
        loss.f_backward()?;
        self.step_count += 1;
        let correction_1 = 1.0 - BETA_1.powi(self.step_count);
        let correction_2 = 1.0 - BETA_2.powi(self.step_count);
        let step_size = -self.learning_rate / correction_1;
        tch::no_grad(|| {
            for Parameter { value, first, second } in &mut self.parameters {
                let gradient = value.f_grad()?;
                if !gradient.defined() {
                    continue;
                }
                let _ = first.f_lerp_(&gradient, 1.0 - BETA_1)?;
                let _ = second.f_mul_scalar_(BETA_2)?.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - BETA_2)?)?;
                let denominator = second.f_sqrt()?.f_div_scalar_(correction_2.sqrt())?.f_add_scalar_(EPSILON)?;
                let _ = value.f_add_(&first.f_div(&denominator)?.f_mul_scalar_(step_size)?)?;
            }
            Ok(())
        })
    }

    /// The state by name, to be kept; contiguous, which the file format asks for and channels-last moments are not.
    pub(super) fn state(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut state = Vec::with_capacity(2 * self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            state.push((format!("first.{index}"), parameter.first.f_contiguous()?));
            state.push((format!("second.{index}"), parameter.second.f_contiguous()?));
        }
        Ok(state)
    }

    /// Goes on with a state that was kept; false when it is another network's.
    pub(super) fn restore(&mut self, step_count: i32, state: &[(String, Tensor)]) -> Result<bool, TchError> {
        let find = |name: String| state.iter().find(|(other, _)| *other == name).map(|(_, tensor)| tensor);
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            let (Some(first), Some(second)) = (find(format!("first.{index}")), find(format!("second.{index}"))) else {
                return Ok(false);
            };
            if first.size() != parameter.value.size() || second.size() != parameter.value.size() {
                return Ok(false);
            }
            parameter.first.f_copy_(first)?;
            parameter.second.f_copy_(second)?;
        }
        self.step_count = step_count;
        Ok(true)
    }

    /// Steps so far.
    pub(super) fn step_count(&self) -> i32 {
        self.step_count
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::OptimizerConfig as _;
    use tch::{Device, Kind, nn};

    use super::*;

    /// A bowl with a tilted floor, so that every parameter has a gradient of its own.
    fn loss(value: &Tensor) -> Tensor {
        let target = Tensor::from_slice(&[1.0f32, -2.0, 3.0]);
        ((value - target).square() * Tensor::from_slice(&[1.0f32, 4.0, 0.3])).sum(Kind::Float)
    }

    #[test]
    fn the_steps_are_those_of_the_librarys_own() {
        let variables = nn::VarStore::new(Device::Cpu);
        let theirs = variables.root().zeros("x", &[3]);
        let mut library = nn::Adam { eps: EPSILON, ..nn::Adam::default() }.build(&variables, 0.05).expect("builds");
        let ours = Tensor::zeros([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut adam = Adam::new(vec![ours.shallow_clone()], 0.05).expect("fits");
        for _ in 0..100 {
            library.backward_step(&loss(&theirs));
            adam.step(&loss(&ours)).expect("steps");
        }
        let difference = (&theirs - &ours).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
        assert!(theirs.double_value(&[0]) > 0.5, "it moved");
    }

    #[test]
    fn a_state_that_was_kept_goes_on_exactly() {
        let run = |break_at: Option<u32>| {
            let mut value = Tensor::zeros([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let mut adam = Adam::new(vec![value.shallow_clone()], 0.05).expect("fits");
            for step in 0..20 {
                if break_at == Some(step) {
                    let state = adam.state().expect("whole");
                    let state: Vec<_> = state.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
                    value = value.detach().copy().set_requires_grad(true);
                    let step_count = adam.step_count();
                    adam = Adam::new(vec![value.shallow_clone()], 0.05).expect("fits");
                    assert!(adam.restore(step_count, &state).expect("fits"));
                }
                adam.step(&loss(&value)).expect("steps");
            }
            Vec::<f32>::try_from(value.detach()).expect("floats")
        };
        assert_eq!(run(None), run(Some(11)));
    }

    #[test]
    fn another_networks_state_is_refused() {
        let adam = |size: i64| Adam::new(vec![Tensor::zeros([size], (Kind::Float, Device::Cpu))], 0.1).expect("fits");
        let other = adam(4).state().expect("whole");
        let mut adam = adam(3);
        assert!(!adam.restore(1, &other).expect("seen") && !adam.restore(1, &[]).expect("seen"));
    }
}

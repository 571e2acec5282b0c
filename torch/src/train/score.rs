//! How well a network answers, summed where it answers: to ask for each number would make a GPU wait after each step.

use tch::{Device, Kind, Reduction, TchError, Tensor};

/// Sums over inputs, on the device of the network.
#[derive(Debug)]
pub(super) struct Tally {
    input_count: i64,
    loss_sum: Tensor,
    correct_count: Tensor,
}

/// What a [`Tally`] holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score {
    pub(super) input_count: i64,
    /// Means over the inputs.
    pub(super) loss: f64,
    pub(super) accuracy: f64,
}

impl Tally {
    pub(super) fn new(device: Device) -> Result<Self, TchError> {
        let zero = || Tensor::f_zeros([], (Kind::Double, device));
        Ok(Self { input_count: 0, loss_sum: zero()?, correct_count: zero()? })
    }

    /// Adds a batch, of which `loss` is the mean.
    pub(super) fn add(&mut self, loss: &Tensor, logits: &Tensor, labels: &Tensor) -> Result<(), TchError> {
        let count = i64::try_from(labels.numel()).unwrap_or(i64::MAX);
        let loss = loss.f_detach()?.f_to_kind(Kind::Double)?.f_mul_scalar_(count)?;
        let _ = self.loss_sum.f_add_(&loss)?;
        let _ = self.correct_count.f_add_(&logits.f_argmax(-1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Double)?)?;
        self.input_count += count;
        Ok(())
    }

    /// Waits until the device has done all that it was asked to.
    pub(super) fn score(&self) -> Result<Score, TchError> {
        let mean = |sum: &Tensor| Ok::<_, TchError>(sum.f_double_value(&[])? / whole(self.input_count.max(1)));
        let (loss, accuracy) = (mean(&self.loss_sum)?, mean(&self.correct_count)?);
        Ok(Score { input_count: self.input_count, loss, accuracy })
    }
}

/// Mean cross-entropy of a batch.
pub(super) fn loss(logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of inputs stay below 2^53")]
pub(super) fn whole(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_inputs_and_not_over_batches() {
        let mut tally = Tally::new(Device::Cpu).expect("room");
        let logits = Tensor::from_slice2(&[[4.0f32, 0.0], [0.0, 4.0], [0.0, 4.0]]);
        tally.add(&Tensor::from(1.0f32), &logits, &Tensor::from_slice(&[0i64, 1, 0])).expect("added");
        tally.add(&Tensor::from(5.0f32), &logits.narrow(0, 0, 1), &Tensor::from_slice(&[0i64])).expect("added");
        assert_eq!(tally.score().expect("read"), Score { input_count: 4, loss: 2.0, accuracy: 0.75 });
    }

    #[test]
    fn a_loss_that_is_no_number_stays_one() {
        let mut tally = Tally::new(Device::Cpu).expect("room");
        let (logits, label) = (Tensor::from_slice2(&[[4.0f32, 0.0]]), Tensor::from_slice(&[0i64]));
        tally.add(&Tensor::from(f32::INFINITY), &logits, &label).expect("added");
        tally.add(&Tensor::from(1.0f32), &logits, &label).expect("added");
        assert!(!tally.score().expect("read").loss.is_finite());
    }
}

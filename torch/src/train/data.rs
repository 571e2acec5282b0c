//! An input set as tensors, and the order in which an epoch goes through it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tch::{Device, Kind, TchError, Tensor};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::InputSet;

/// Inputs as the bytes they are (a quarter of what floats would take), scaled batch by batch.
#[derive(Debug)]
pub(super) struct Data {
    bytes: Tensor,
    labels: Tensor,
    input_count: usize,
    class_count: usize,
    scale: f64,
    offset: f64,
}

impl Data {
    /// Puts an input set on a device, once: a batch moves nothing but its places.
    pub(super) fn new(set: &InputSet, scale: f64, offset: f64, device: Device) -> Result<Self, TchError> {
        let labels: Vec<i64> = set.labels().iter().map(|&label| i64::from(label)).collect();
        let mut size = vec![i64::try_from(labels.len()).unwrap_or(i64::MAX)];
        size.extend(set.shape().iter().map(|&dimension| i64::from(dimension)));
        let bytes: Vec<u8> = (0..labels.len()).flat_map(|index| set.input(index)).copied().collect();
        Ok(Self {
            bytes: Tensor::f_from_slice(&bytes)?.f_view(&size[..])?.f_to_device(device)?,
            labels: Tensor::f_from_slice(&labels)?.f_to_device(device)?,
            input_count: labels.len(),
            class_count: set.class_count() as usize,
            scale,
            offset,
        })
    }

    pub(super) fn input_count(&self) -> i64 {
        i64::try_from(self.input_count).unwrap_or(i64::MAX)
    }

    pub(super) fn class_count(&self) -> usize {
        self.class_count
    }

    /// Every place, in order.
    pub(super) fn places(&self) -> Vec<i64> {
        (0..self.input_count()).collect()
    }

    /// The inputs at these places, scaled, and their labels.
    pub(super) fn batch(&self, places: &[i64]) -> Result<(Tensor, Tensor), TchError> {
        let places = Tensor::f_from_slice(places)?.f_to_device(self.labels.device())?;
        let mut inputs = self.bytes.f_index_select(0, &places)?.f_to_kind(Kind::Float)?;
        let inputs = inputs.f_mul_scalar_(self.scale)?.f_add_scalar_(self.offset)?;
        Ok((inputs, self.labels.f_index_select(0, &places)?))
    }
}

/// A random order of `count` places, from the seed and the epoch alone: Fisher and Yates over ChaCha with 8 rounds, keyed
/// with SHA-256("tinywatt epoch 1" ‖ seed ‖ epoch), integers little-endian.
pub(super) fn order(seed: u32, epoch: u32, count: i64) -> Vec<i64> {
    let mut key = b"tinywatt epoch 1".to_vec();
    key.extend_from_slice(&seed.to_le_bytes());
    key.extend_from_slice(&epoch.to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(Sha256::of(&key).0);
    let mut order: Vec<i64> = (0..count).collect();
    for last in (1..order.len()).rev() {
        // The high half of a product is below the bound; its bias is below 2^-32 for any order that fits in memory here.
        let place = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        order.swap(last, usize::try_from(place).unwrap_or(last));
    }
    order
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::inputs::Encoding;

    use super::*;

    #[test]
    fn an_order_holds_every_place_once_and_depends_on_seed_and_epoch() {
        let first = order(1, 1, 100);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order(1, 1, 100));
        assert_ne!(first, order(1, 2, 100));
        assert_ne!(first, order(2, 1, 100));
        assert!(order(1, 1, 0).is_empty());
    }

    #[test]
    fn a_batch_is_scaled_and_keeps_its_labels() {
        let set = InputSet::new(Encoding::Plain, 3, vec![1, 2, 1], vec![0, 1, 2], vec![0, 8, 16, 24, 32, 40]);
        let data = Data::new(&set.expect("a set"), 0.125, -1.0, Device::Cpu).expect("fits");
        let (inputs, labels) = data.batch(&[2, 0]).expect("there");
        assert_eq!(inputs.size(), [2, 1, 2, 1]);
        assert_eq!(Vec::<f32>::try_from(inputs.flatten(0, -1)).expect("floats"), [3.0, 4.0, -1.0, 0.0]);
        assert_eq!(Vec::<i64>::try_from(labels).expect("labels"), [2, 0]);
    }
}

//! An input set as tensors, and the order in which an epoch goes through it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tch::{Device, Kind, Tensor};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::InputSet;

/// Inputs as the bytes they are (a quarter of what floats would take), scaled batch by batch.
#[derive(Debug)]
pub(super) struct Data {
    bytes: Tensor,
    labels: Tensor,
    class_count: usize,
    scale: f64,
    offset: f64,
}

impl Data {
    /// Puts an input set on a device.
    pub(super) fn new(set: &InputSet, scale: f64, offset: f64, device: Device) -> Self {
        let labels: Vec<i64> = set.labels().iter().map(|&label| i64::from(label)).collect();
        let mut size = vec![i64::try_from(labels.len()).unwrap_or(i64::MAX)];
        size.extend(set.shape().iter().map(|&dimension| i64::from(dimension)));
        let bytes: Vec<u8> = (0..labels.len()).flat_map(|index| set.input(index)).copied().collect();
        Self {
            bytes: Tensor::from_slice(&bytes).view(&size[..]).to_device(device),
            labels: Tensor::from_slice(&labels).to_device(device),
            class_count: set.class_count() as usize,
            scale,
            offset,
        }
    }

    pub(super) fn input_count(&self) -> i64 {
        self.labels.size()[0]
    }

    pub(super) fn class_count(&self) -> usize {
        self.class_count
    }

    /// Every place, in order.
    pub(super) fn places(&self) -> Vec<i64> {
        (0..self.input_count()).collect()
    }

    /// The inputs at these places, scaled, and their labels.
    pub(super) fn batch(&self, places: &[i64]) -> (Tensor, Tensor) {
        let places = Tensor::from_slice(places).to_device(self.labels.device());
        let inputs = self.bytes.index_select(0, &places).to_kind(Kind::Float) * self.scale + self.offset;
        (inputs, self.labels.index_select(0, &places))
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
        let data = Data::new(&set.expect("a set"), 0.125, -1.0, Device::Cpu);
        let (inputs, labels) = data.batch(&[2, 0]);
        assert_eq!(inputs.size(), [2, 1, 2, 1]);
        assert_eq!(Vec::<f32>::try_from(inputs.flatten(0, -1)).expect("floats"), [3.0, 4.0, -1.0, 0.0]);
        assert_eq!(Vec::<i64>::try_from(labels).expect("labels"), [2, 0]);
    }
}

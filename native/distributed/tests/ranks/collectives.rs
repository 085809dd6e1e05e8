//! Operations on tensors and bytes of all ranks.

use tch::Tensor;
use topk_distributed::Op;

use crate::processes::with_ranks;

#[test]
fn tensors_are_summed_and_the_maximum_is_found() {
    with_ranks(
        "collectives::tensors_are_summed_and_the_maximum_is_found",
        3,
        |group| {
            let rank = group.rank() as f64;
            let sum = Tensor::from_slice(&[rank, 1.0, -rank]);
            let counts = Tensor::from_slice(&[group.rank() as i64, 10]);
            group.all_reduce(&[&sum, &counts], Op::Sum).unwrap();
            assert_eq!(Vec::<f64>::try_from(&sum).unwrap(), [3.0, 3.0, -3.0]);
            assert_eq!(Vec::<i64>::try_from(&counts).unwrap(), [3, 30]);

            let max = Tensor::from_slice(&[rank as f32, -rank as f32]);
            let work = group.all_reduce_async(&max, Op::Max).unwrap();
            work.wait().unwrap();
            assert_eq!(Vec::<f32>::try_from(&max).unwrap(), [2.0, 0.0]);
        },
    );
}

#[test]
fn values_of_one_rank_replace_those_of_the_others() {
    with_ranks(
        "collectives::values_of_one_rank_replace_those_of_the_others",
        3,
        |group| {
            let rank = group.rank() as f32;
            // A parameter, as autograd's leaf, and buffers of other types.
            let parameter = Tensor::from_slice(&[rank, rank + 0.5]).set_requires_grad(true);
            let mean = Tensor::from_slice(&[rank * 10.0]);
            let batches = Tensor::from(group.rank() as i64 + 7);
            group.broadcast(&[&parameter, &mean, &batches], 1).unwrap();
            assert_eq!(
                Vec::<f32>::try_from(&parameter.detach()).unwrap(),
                [1.0, 1.5]
            );
            assert!(parameter.requires_grad());
            assert_eq!(mean.double_value(&[0]), 10.0);
            assert_eq!(batches.int64_value(&[]), 8);
            group.broadcast(&[], 0).unwrap();
        },
    );
}

#[test]
fn bytes_reach_all_ranks() {
    with_ranks("collectives::bytes_reach_all_ranks", 3, |group| {
        // Rank 0 has none.
        let own: Vec<u8> = (0..group.rank() * 100).map(|i| i as u8).collect();
        let all = group.gather_bytes(&own).unwrap();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [0, 100, 200]);
        assert_eq!(all[group.rank()], own);
        assert_eq!(all[2][199], 199);
        assert_eq!(group.broadcast_bytes(own.clone(), 2).unwrap(), all[2]);
        assert!(group.broadcast_bytes(own, 0).unwrap().is_empty());
        group.barrier().unwrap();
    });
}

//! GPUs, on a machine without one.

use std::time::Duration;

use tch::Device;
use topk_distributed::{DistributedError, Group, Rendezvous, has_nccl};
use topk_testing::free_port;

#[test]
fn a_gpu_that_cannot_be_used_is_named_with_what_is_missing() {
    let rendezvous = Rendezvous {
        host: "127.0.0.1".to_owned(),
        port: free_port(),
        rank: 0,
        world_size: 1,
        is_server: true,
        prefix: String::new(),
        timeout: Duration::from_secs(30),
    };
    // No machine has so many.
    let index = 99;
    let error = Group::connect(&rendezvous, Device::Cuda(index)).unwrap_err();
    println!("{error}");
    match &error {
        DistributedError::NoNccl { index: 99 } => assert!(!has_nccl()),
        DistributedError::StartNccl {
            index: 99,
            rank: 0,
            reason,
        } => {
            assert!(has_nccl());
            assert!(
                reason.contains("no GPUs found") || tch::Cuda::is_available(),
                "{reason}"
            );
        }
        _ => panic!("{error:?}"),
    }
}

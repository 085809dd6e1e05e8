//! Settings of numerics, in their own test binary because they affect the whole process.

use topk_libtorch::Numerics;

#[test]
fn numerics_are_those_of_the_process() {
    let before = Numerics::current().unwrap();
    let pytorch = Numerics {
        tf32_convolutions: true,
        tf32_products: false,
        deterministic: false,
        cudnn_benchmark: false,
    };
    assert_eq!(before, pytorch);
    for bits in 0..16 {
        let numerics = Numerics {
            tf32_convolutions: bits & 1 != 0,
            tf32_products: bits & 2 != 0,
            deterministic: bits & 4 != 0,
            cudnn_benchmark: bits & 8 != 0,
        };
        numerics.apply().unwrap();
        assert_eq!(Numerics::current().unwrap(), numerics);
    }
    before.apply().unwrap();
}

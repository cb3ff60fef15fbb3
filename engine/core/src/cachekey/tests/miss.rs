use crate::cachekey::MissReason;
use crate::model::CacheKeyId;
use crate::ports::LookupAnswer;

fn answer(op_known: bool, inputs_known: &[bool]) -> LookupAnswer {
    LookupAnswer {
        keys: Vec::new(),
        op_known,
        inputs_known: inputs_known.to_vec(),
        imported: Vec::new(),
    }
}

#[test]
fn each_miss_has_its_reason() {
    assert_eq!(
        MissReason::of(&answer(false, &[false])),
        Some(MissReason::NewOp)
    );
    assert_eq!(
        MissReason::of(&answer(true, &[true, false])),
        Some(MissReason::InputChanged { input: 1 })
    );
    assert_eq!(
        MissReason::of(&answer(true, &[true, true])),
        Some(MissReason::NewCombination)
    );
    let hit = LookupAnswer {
        keys: vec![CacheKeyId(cooper_proto::Digest::sha256_of(b"key"))],
        ..answer(true, &[true])
    };
    assert_eq!(MissReason::of(&hit), None);
}

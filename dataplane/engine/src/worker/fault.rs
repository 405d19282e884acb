//! A fault of ours in the middle of a frame, on demand.

const MAGIC: &[u8] = b"penstock: inject a fault here";

pub(crate) fn strike(payload: &[u8]) {
    assert!(!payload.windows(MAGIC.len()).any(|window| window == MAGIC), "injected fault");
}

use std::time::Duration;

use cooper_engine::Engine;
use cooper_worker::give_back_memory;

/// How long no build has to run before memory is given back: one that follows at once would want it again.
const PAUSE: Duration = Duration::from_millis(400);

/// Gives memory back after the start and whenever builds have ended and none has followed. Never ends.
pub(super) async fn give_back_at_rest(engine: Engine) {
    loop {
        give_back_memory();
        loop {
            engine.comes_to_rest().await;
            tokio::time::sleep(PAUSE).await;
            if engine.is_at_rest() {
                break;
            }
        }
    }
}

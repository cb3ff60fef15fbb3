use cooper_worker::exec::{Network, RunError, Security};

use crate::sandbox::sandbox;

#[tokio::test]
async fn without_a_control_group_mounts_keep_the_machine_s_devices_away() {
    // The sandboxes of these tests have no control group.
    // A plain user cannot make them in the first place.
    let script = "for place in /log /dev/log; do \
                  busybox mknod $place c 1 11 && { echo test > $place; } 2>/dev/null && echo written; done; \
                  echo x > /dev/null && busybox head -c 1 /dev/zero | busybox wc -c && test -c /dev/tty";
    let mut sandbox = sandbox();
    sandbox.template.network = Network::None;
    assert_eq!(sandbox.sh(script).await.succeeded(), "1\n");
}

#[tokio::test]
async fn t_a6_container_with_more_than_it_is_permitted_does_not_run() {
    let mut insecure = sandbox();
    insecure.template.security = Security::Insecure;
    let error = insecure.run(&["true"]).await.status.unwrap_err();
    assert!(
        matches!(error, RunError::Denied("security.insecure")),
        "{error}"
    );
}

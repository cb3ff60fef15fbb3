//! Archives that try to get out, by the number of the advisory's test in security.md.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{
    apply_tests::{Sandbox, dir, file, hardlink, symlink},
    archive::Header,
};

/// Unpacks, whether or not it is refused, and looks whether anything outside changed.
fn attack(entries: &[(Header, &str)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let _ = sandbox.apply(entries);
    sandbox.victim_is_untouched();
    sandbox
}

// T-C20, T-A28
#[test]
fn no_path_of_an_entry_leads_out() {
    for name in [
        "../victim",
        "a/../../victim",
        "/../victim",
        "./../victim",
        "../in/../victim",
    ] {
        for entry in [
            file(name),
            dir(name),
            symlink(name, "x"),
            hardlink(name, "x"),
        ] {
            attack(&[(file("x"), ""), (entry, "")]);
        }
        let whiteout = name.replace("victim", ".wh.victim");
        attack(&[(file(&whiteout), "")]);
    }
}

// T-A28: create or overwrite through a link that the archive made.
#[test]
fn no_link_of_the_archive_leads_an_entry_out() {
    for target in ["..", "../", "/..", "../../..", "/proc/self/cwd/..", "/"] {
        attack(&[(symlink("l", target), ""), (file("l/victim"), "evil")]);
        attack(&[(symlink("l", target), ""), (file("l/.wh.victim"), "")]);
        attack(&[(symlink("l", target), ""), (file("l/.wh..wh..opq"), "")]);
        attack(&[
            (symlink("l", target), ""),
            (hardlink("h", "l/victim"), ""),
            (file("h"), "evil"),
        ]);
    }
    for target in ["../victim", "/../victim"] {
        attack(&[(symlink("l", target), ""), (file("l"), "evil")]);
        attack(&[
            (symlink("l", target), ""),
            (hardlink("h", "l"), ""),
            (file("h"), "evil"),
        ]);
        attack(&[(symlink("l", target), ""), (dir("l"), "")]);
    }
}

#[test]
fn a_chain_of_links_does_not_lead_out() {
    attack(&[
        (dir("a"), ""),
        (symlink("a/b", ".."), ""),
        (symlink("c", "a/b/.."), ""),
        (symlink("d", "c/.."), ""),
        (file("d/victim"), "evil"),
    ]);
    attack(&[
        (symlink("a", "b"), ""),
        (symlink("b", "a"), ""),
        (file("a/x"), "loop"),
    ]);
}

// T-A28
#[test]
fn a_hard_link_to_something_outside_is_not_made() {
    for target in ["../victim", "/../victim", "/victim", "..", "/", ""] {
        let sandbox = attack(&[(hardlink("h", target), "evil")]);
        assert!(!sandbox.path("h").exists(), "{target}");
        attack(&[(hardlink("h", target), ""), (file("h"), "evil")]);
    }
}

// T-C1 (CVE-2021-32760, RUSTSEC-2026-0067): mode, owner, times and attributes (T-A27) act on
// the link and never on what it leads to.
#[test]
fn attributes_of_a_link_do_not_reach_its_target() {
    let everything = |header: Header| Header {
        mode: 0o6777,
        uid: 4242,
        records: vec![
            (String::from("SCHILY.xattr.user.evil"), b"1".to_vec()),
            (
                String::from("SCHILY.xattr.security.capability"),
                vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        ],
        ..header
    };
    for target in ["../victim", "inside"] {
        let sandbox = attack(&[
            (file("inside"), "x"),
            (everything(symlink("l", target)), ""),
            (everything(hardlink("h", "l")), ""),
        ]);
        let inside = fs::metadata(sandbox.path("inside")).unwrap();
        assert_eq!(inside.permissions().mode() & 0o7777, 0o644, "{target}");
    }
}

// T-A28: what a first fix of the advisory broke must work.
#[test]
fn links_that_stay_inside_work() {
    let sandbox = Sandbox::new();
    sandbox
        .apply(&[
            (dir("usr"), ""),
            (dir("usr/bin"), ""),
            (symlink("bin", "/usr/bin"), ""),
            (file("bin/tool"), "1"),
            (hardlink("usr/bin/same", "/bin/tool"), ""),
            (file("implied/parents/file"), "2"),
            (symlink("rel", "implied/../usr"), ""),
            (file("rel/bin/more"), "3"),
        ])
        .unwrap();
    assert_eq!(sandbox.read("usr/bin/tool"), "1");
    assert_eq!(sandbox.read("usr/bin/same"), "1");
    assert_eq!(sandbox.read("implied/parents/file"), "2");
    assert_eq!(sandbox.read("usr/bin/more"), "3");
    let bin = fs::read_link(sandbox.path("bin")).unwrap();
    assert_eq!(bin, Path::new("/usr/bin"));
}

#[test]
fn a_hard_link_to_a_link_is_the_link_itself() {
    let sandbox = Sandbox::new();
    sandbox
        .apply(&[(symlink("l", "nowhere"), ""), (hardlink("h", "l"), "")])
        .unwrap();
    let target = fs::read_link(sandbox.path("h")).unwrap();
    assert_eq!(target, Path::new("nowhere"));
}

#[test]
fn a_directory_replaced_by_a_link_does_not_lead_later_entries_out() {
    attack(&[
        (dir("d"), ""),
        (file("d/a"), "1"),
        (symlink("d", ".."), ""),
        (file("d/victim"), "evil"),
    ]);
    // The times of directories come last, by path.
    attack(&[(dir("d"), ""), (dir("d/e"), ""), (symlink("d", "/.."), "")]);
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.."] {
        let sandbox = Sandbox::new();
        assert!(sandbox.apply(&[(file(name), "")]).is_err(), "{name}");
        sandbox.victim_is_untouched();
    }
}

#[test]
fn special_files_are_made_and_never_opened() {
    let fifo = Header {
        flag: b'6',
        ..file("p")
    };
    let device = Header {
        flag: b'4',
        device_major: 7,
        ..file("p")
    };
    let sandbox = Sandbox::new();
    sandbox
        .apply(&[(fifo, ""), (file("p"), "1"), (device, ""), (file("p"), "2")])
        .unwrap();
    assert_eq!(sandbox.read("p"), "2");
}

// T-C10
#[test]
fn a_folder_that_somebody_swaps_while_it_is_unpacked_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let sandbox = Sandbox::new();
    let over = AtomicBool::new(false);
    let entries: Vec<(Header, String)> = (0..200)
        .map(|number| (file(&format!("d/f{number}")), "evil".to_owned()))
        .collect();
    let entries: Vec<(Header, &str)> = entries
        .iter()
        .map(|(header, content)| (header.clone(), content.as_str()))
        .chain([(file("d/victim"), "evil")])
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (folder, away) = (sandbox.path("d"), sandbox.path("away"));
            while !over.load(Ordering::Relaxed) {
                // Whether each step works depends on where the other side is.
                let _ = fs::rename(&folder, &away);
                let _ = std::os::unix::fs::symlink(sandbox.dir.path(), &folder);
                std::thread::yield_now();
                let _ = fs::remove_file(&folder);
                let _ = fs::rename(&away, &folder);
            }
        });
        for _ in 0..20 {
            let _ = sandbox.apply(&entries);
        }
        over.store(true, Ordering::Relaxed);
    });
    sandbox.victim_is_untouched();
}

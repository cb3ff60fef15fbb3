//! Checks of good practice: what they find, what they leave alone, what they change.

#![expect(clippy::unwrap_used, reason = "a test's own Dockerfiles can be read")]

use cooper_frontend::practice::{Practice, check, diff, repair};

#[track_caller]
fn expect(text: &str, expected: &[(Practice, u32)]) {
    let found: Vec<(Practice, u32)> = check(text)
        .unwrap()
        .iter()
        .map(|finding| (finding.practice, finding.lines.start))
        .filter(|(practice, _)| *practice != Practice::UnpinnedBase)
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn an_index_that_another_step_updated_is_found() {
    expect(
        "FROM debian AS build\nRUN apt-get update\nRUN apt-get install -y curl\nFROM scratch\n",
        &[(Practice::PackageIndexSplit, 3)],
    );
    expect(
        "FROM debian AS build\nRUN apt-get update && apt-get install -y curl\nFROM scratch\n",
        &[],
    );
}

#[test]
fn caches_of_package_managers_are_found_in_what_is_shipped() {
    for (step, found) in [
        (
            "apt-get update && apt-get install --no-install-recommends -y curl",
            true,
        ),
        (
            "apt-get update && apt-get install --no-install-recommends -y curl && rm -rf /var/lib/apt/lists/*",
            false,
        ),
        (
            "--mount=type=cache,target=/var/lib/apt apt-get update && apt-get install --no-install-recommends -y x",
            false,
        ),
        ("apk add curl", true),
        ("apk add --no-cache curl", false),
        ("pip install flask", true),
        ("pip install --no-cache-dir flask", false),
        (
            "--mount=type=cache,target=/root/.cache/pip pip install flask",
            false,
        ),
        ("dnf install -y curl", true),
        ("dnf install -y curl && dnf clean all", false),
        ("echo apt-get install", false),
    ] {
        let expected: &[(Practice, u32)] = if found {
            &[(Practice::PackageCacheKept, 2)]
        } else {
            &[]
        };
        expect(&format!("FROM debian\nRUN {step}\n"), expected);
        // What no image ships may keep what it likes.
        expect(
            &format!("FROM debian AS build\nRUN {step}\nFROM scratch\n"),
            &[],
        );
    }
    expect(
        "FROM python\nENV PIP_NO_CACHE_DIR=1\nRUN pip install flask\n",
        &[],
    );
}

#[test]
fn packages_that_nobody_asked_for_are_found() {
    expect(
        "FROM debian\nRUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n",
        &[(Practice::RecommendedPackages, 2)],
    );
}

#[test]
fn copying_all_before_installing_is_found() {
    let found = &[(Practice::BroadCopyBeforeInstall, 2)];
    expect("FROM node\nCOPY . .\nRUN npm ci\n", found);
    expect(
        "FROM node\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build\n",
        &[],
    );
    expect("FROM node\nCOPY --from=x . .\nRUN npm ci\n", &[]);
}

#[test]
fn files_that_are_deleted_too_late_are_found() {
    expect(
        "FROM busybox\nWORKDIR /src\nCOPY big.tar .\nRUN tar xf big.tar\nRUN rm /src/big.tar\n",
        &[(Practice::DeletedInLaterLayer, 5)],
    );
    expect(
        "FROM busybox\nRUN curl -o /tmp/x.tgz https://example.com/x.tgz\nRUN rm -rf /tmp/*\n",
        &[(Practice::DeletedInLaterLayer, 3)],
    );
    expect(
        "FROM busybox\nRUN curl -o /tmp/x https://example.com/x && rm /tmp/x\n",
        &[],
    );
}

#[test]
fn tools_in_the_final_image_are_found() {
    expect(
        "FROM golang:1.24\nRUN go build\n",
        &[(Practice::BuildToolsShipped, 1)],
    );
    expect(
        "FROM golang:1.24 AS build\nRUN go build\nFROM scratch\nCOPY --from=build /a /a\n",
        &[],
    );
    expect(
        "FROM alpine\nRUN apk add --no-cache build-base\n",
        &[(Practice::BuildToolsShipped, 2)],
    );
    expect(
        "FROM alpine\nRUN apk add --no-cache gcc && make && apk del gcc\n",
        &[],
    );
}

#[test]
fn bases_without_a_digest_are_found() {
    let digest = "0".repeat(64);
    for (base, found) in [
        ("alpine", 1),
        ("alpine:latest", 1),
        ("registry.example:5000/a/b:1", 1),
        (format!("alpine:3@sha256:{digest}").as_str(), 0),
        ("scratch", 0),
        ("$BASE", 0),
    ] {
        let all = check(&format!("ARG BASE=a\nFROM {base}\n")).unwrap();
        let unpinned = all.iter().filter(|f| f.practice == Practice::UnpinnedBase);
        assert_eq!(unpinned.count(), found, "{base}");
    }
}

#[test]
fn a_file_says_what_is_not_to_be_told() {
    let skip = "# check=skip=UnpinnedBase,PackageCacheKept\nFROM alpine\nRUN apk add curl\n";
    assert_eq!(check(skip).unwrap(), []);
    let above = "FROM alpine\n# check=skip=PackageCacheKept\nRUN apk add curl\n";
    expect(above, &[]);
}

#[test]
fn repairs_are_made_and_leave_nothing_to_repair() {
    let text = "FROM debian\nRUN apt-get update\nRUN apt-get install -y \\\n    curl \\\n    git\nRUN pip install -r r.txt\nRUN apk add x\n";
    let (repaired, made) = repair(text).unwrap();
    assert_eq!(
        repaired,
        "FROM debian\nRUN apt-get update\nRUN apt-get update && apt-get install --no-install-recommends -y \\\n    curl \\\n    git \\\n    && rm -rf /var/lib/apt/lists/*\nRUN pip install --no-cache-dir -r r.txt\nRUN apk add --no-cache x\n"
    );
    assert_eq!(made.len(), 5);
    let rest = check(&repaired).unwrap();
    assert!(
        rest.iter().all(|finding| finding.change.is_none()),
        "{rest:?}"
    );
}

#[test]
fn a_change_is_shown_as_a_diff() {
    let text = "FROM alpine:3\nRUN apk add x\n";
    let found = check(text).unwrap();
    let change = found
        .iter()
        .find_map(|finding| finding.change.clone())
        .unwrap();
    assert_eq!(
        diff(text, &change),
        "@@ -2,1 +2,1 @@\n-RUN apk add x\n+RUN apk add --no-cache x\n"
    );
}

#[test]
fn every_practice_has_its_page() {
    for practice in Practice::ALL {
        let path = format!(
            "{}/../docs/checks/{}",
            env!("CARGO_MANIFEST_DIR"),
            practice.page()
        );
        let page = std::fs::read_to_string(&path).expect(&path);
        assert!(page.contains(practice.name()), "{path}");
    }
}

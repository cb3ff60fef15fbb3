use std::io::{Cursor, Read};

use proptest::prelude::*;

use super::{ArchiveError, ArchiveReader, ArchiveWriter, EntryKind, Header};
use crate::limits::Limits;

fn header(name: &str) -> Header {
    Header {
        name: name.into(),
        flag: b'0',
        mode: 0o644,
        mtime: 7,
        ..Header::default()
    }
}

fn written(headers: &[(Header, &[u8])]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for (header, content) in headers {
        let header = Header {
            size: content.len() as u64,
            ..header.clone()
        };
        writer.file(&header, *content).unwrap();
    }
    writer.finish().unwrap()
}

/// Paths and contents, as the archive has them.
fn read(archive: &[u8]) -> Result<Vec<(String, String)>, ArchiveError> {
    let mut reader = ArchiveReader::new(archive, &Limits::default());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = String::new();
        reader.read_to_string(&mut content)?;
        found.push((entry.path.to_str().unwrap().to_owned(), content));
    }
    Ok(found)
}

/// Changes bytes of a block and makes its checksum right again.
fn edit(archive: &mut [u8], block: usize, at: usize, bytes: &[u8]) {
    let block = &mut archive[block * 512..(block + 1) * 512];
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn is_ambiguous(archive: &[u8]) -> bool {
    matches!(read(archive), Err(ArchiveError::Ambiguous { .. }))
}

/// A PAX header with these records, before a file `a` that has 5 bytes.
fn with_records(records: &str) -> Vec<u8> {
    let pax = Header {
        flag: b'x',
        ..header("PaxHeaders.0/a")
    };
    written(&[(pax, records.as_bytes()), (header("a"), b"hello")])
}

#[test]
fn what_is_written_is_read_back_whole() {
    let long = "d/".repeat(150) + "name";
    let umlaut = "ü".repeat(90);
    let archive = written(&[
        (header("a"), b"hello"),
        (header(&long), b""),
        (header(&umlaut), b"x"),
    ]);
    let expected = [("a", "hello"), (&long, ""), (&umlaut, "x")]
        .map(|(path, content)| (path.to_owned(), content.to_owned()));
    assert_eq!(read(&archive).unwrap(), expected);
}

#[test]
fn the_crate_tar_reads_what_we_write() {
    let long = "x".repeat(200);
    let attribute = Header {
        uid: 3_000_000,
        records: vec![(
            String::from("SCHILY.xattr.security.capability"),
            b"\x01\n\x02=".to_vec(),
        )],
        ..header("cap")
    };
    let archive = written(&[(header(&long), b"1"), (attribute, b"22")]);
    let mut reader = tar::Archive::new(&archive[..]);
    let entries: Vec<_> = reader
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            (path, entry.size(), entry.header().uid().unwrap())
        })
        .collect();
    assert_eq!(entries[0], (long.into(), 1, 0));
    assert_eq!((entries[1].0.to_str(), entries[1].1), (Some("cap"), 2));
}

// The bytes of Go's archive/tar for one file, taken from its format: field widths, padding,
// magic and checksum.
#[test]
fn a_plain_header_has_the_bytes_that_go_writes() {
    let archive = written(&[(header("hello.txt"), b"hi\n")]);
    let text = |from: usize, to: usize| String::from_utf8_lossy(&archive[from..to]).into_owned();
    assert_eq!(text(0, 10), "hello.txt\0");
    assert_eq!(text(100, 108), "0000644\0");
    assert_eq!(text(108, 116), "0000000\0");
    assert_eq!(text(124, 136), "00000000003\0");
    assert_eq!(text(136, 148), "00000000007\0");
    assert_eq!(text(154, 157), "\0 0");
    assert_eq!(text(257, 265), "ustar\x0000");
    assert_eq!(text(329, 345), "0000000\x000000000\0");
    assert_eq!(archive.len(), 512 + 512 + 1024);
}

#[test]
fn names_of_more_than_100_bytes_are_split_where_they_can_be() {
    let name = format!("{}/{}", "p".repeat(100), "n".repeat(100));
    let archive = written(&[(header(&name), b"")]);
    assert_eq!(archive[156], b'0', "no PAX header is needed");
    assert_eq!(archive[345..445], [b'p'; 100]);
    let name = format!("{}/{}", "p".repeat(100), "n".repeat(101));
    let archive = written(&[(header(&name), b"")]);
    assert_eq!(archive[156], b'x', "the last component is too long");
    assert_eq!(read(&archive).unwrap()[0].0, name);
}

#[test]
fn a_trailing_slash_at_the_end_of_a_cut_name_is_not_written() {
    let name = format!("{}/{}", "p".repeat(99), "é".repeat(5));
    let archive = written(&[(header(&name), b"")]);
    let main = &archive[1024..];
    assert_eq!(main[98], b'p');
    assert_eq!(read(&archive).unwrap()[0].0, name);
}

// I12: the value of one record must not begin another (composefs/tar-rs#428).
#[test]
fn an_attribute_with_a_newline_renames_nothing() {
    let evil = Header {
        records: vec![(
            String::from("SCHILY.xattr.user.x"),
            b"\n17 path=/etc/evil\n".to_vec(),
        )],
        ..header("good")
    };
    let archive = written(&[(evil, b"")]);
    let mut reader = ArchiveReader::new(&archive[..], &Limits::default());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.path.to_str(), Some("good"));
    assert_eq!(entry.xattrs[0].1, b"\n17 path=/etc/evil\n");
}

#[test]
fn a_pax_size_that_contradicts_the_header_is_refused() {
    assert!(read(&with_records("10 size=5\n")).is_ok());
    for size in ["0", "4", "6", "512", "99999999999"] {
        let record = format!("size={size}\n");
        let length = record.len() + 3;
        let archive = with_records(&format!("{length} {record}"));
        assert!(is_ambiguous(&archive), "{size}");
    }
    assert!(is_ambiguous(&with_records("11 size=+5\n")));
}

#[test]
fn a_record_that_occurs_twice_is_refused() {
    assert!(is_ambiguous(&with_records("9 path=b\n9 path=c\n")));
    assert!(is_ambiguous(&with_records("9 path=b\nx")));
    assert!(is_ambiguous(&with_records("11 path=b\0\n")));
}

#[test]
fn two_extended_headers_in_a_row_are_refused() {
    let pax = Header {
        flag: b'x',
        ..header("p")
    };
    let archive = written(&[
        (pax.clone(), b"9 path=b\n"),
        (pax, b"9 path=c\n"),
        (header("a"), b""),
    ]);
    assert!(read(&archive).is_err());
}

#[test]
fn a_gnu_name_and_a_pax_path_that_differ_are_refused() {
    let long = Header {
        flag: b'L',
        ..header("././@LongLink")
    };
    let pax = Header {
        flag: b'x',
        ..header("p")
    };
    for (gnu, good) in [(&b"b\0"[..], true), (b"c\0", false)] {
        let archive = written(&[
            (long.clone(), gnu),
            (pax.clone(), b"9 path=b\n"),
            (header("a"), b""),
        ]);
        assert_eq!(read(&archive).is_ok(), good);
    }
}

#[test]
fn entries_that_are_no_files_have_no_content() {
    for flag in *b"123456" {
        let entry = Header {
            flag,
            link: b"target".to_vec(),
            ..header("a")
        };
        let archive = written(&[(entry, b"content")]);
        assert!(is_ambiguous(&archive), "{}", char::from(flag));
    }
}

#[test]
fn a_file_whose_name_ends_in_a_slash_is_refused_and_an_old_directory_is_read() {
    assert!(is_ambiguous(&written(&[(header("a/"), b"")])));
    let old = Header {
        flag: 0,
        ..header("a/")
    };
    let archive = written(&[(old, b"")]);
    let mut reader = ArchiveReader::new(&archive[..], &Limits::default());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.kind, EntryKind::Directory);
    let nothing = Header {
        flag: 0,
        ..header("//")
    };
    assert!(is_ambiguous(&written(&[(nothing, b"")])));
}

/// Python takes a file's size from where GNU's headers have it, whatever the header is.
#[test]
fn a_file_with_holes_is_in_gnu_s_format() {
    let mut archive = written(&[(header("a"), b"hello")]);
    edit(&mut archive, 0, 156, b"S");
    for magic in [b"ustar\x0000", b"\0\0\0\0\0\0\0\0"] {
        edit(&mut archive, 0, 257, magic);
        assert!(read(&archive).is_err(), "{magic:?}");
    }
}

#[test]
fn unknown_types_are_refused_and_not_skipped() {
    for flag in *b"MVNDAZ" {
        let entry = Header {
            flag,
            ..header("a")
        };
        let archive = written(&[(entry, b""), (header("b"), b"")]);
        let error = read(&archive).unwrap_err();
        assert!(matches!(error, ArchiveError::Kind { .. }), "{error}");
    }
}

/// Python puts what stands there before the name, whatever the header says it is; GNU tar does so by the magic alone.
#[test]
fn what_may_be_taken_for_a_prefix_must_be_one() {
    let times = b"14325276034\x0014325276034\0";
    for (magic, at, bytes, good) in [
        (b"ustar\x0000", 345, &b"dir"[..], true),
        (b"ustar\x0001", 345, b"dir", false),
        (b"ustar \xff\xff", 345, b"dir", false),
        (b"ustar  \0", 345, b"dir", false),
        (b"ustar  \0", 345, times, true),
        (b"ustar  \0", 380, b"dir", false),
        (b"\0\0\0\0\0\0\0\0", 345, b"dir", false),
        (b"\0\0\0\0\0\0\0\0", 345, b"", true),
    ] {
        let mut archive = written(&[(header("a"), b"hello")]);
        edit(&mut archive, 0, 257, magic);
        edit(&mut archive, 0, at, bytes);
        let read = read(&archive);
        assert_eq!(read.is_ok(), good, "{magic:?} with {bytes:?}: {read:?}");
    }
}

/// Python takes the name and the size of a file with holes from any of their records.
#[test]
fn records_of_holes_that_are_not_all_there_are_refused() {
    for records in [
        "21 GNU.sparse.name=b\n",
        "25 GNU.sparse.realsize=9\n",
        "21 GNU.sparse.size=9\n",
        "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=b\n",
        "22 GNU.sparse.major=1\n22 GNU.sparse/minor=0\n25 GNU.sparse.realsize=9\n",
    ] {
        assert!(read(&with_records(records)).is_err(), "{records}");
    }
}

/// GNU tar takes it for a negative size, or for none.
#[test]
fn a_file_that_is_longer_than_files_can_be_is_refused() {
    let length = u64::MAX.to_string();
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n";
    let records = format!("{records}44 GNU.sparse.realsize={length}\n");
    let map = Header {
        flag: b'x',
        ..header("PaxHeaders.0/a")
    };
    let mut no_parts = b"0\n".to_vec();
    no_parts.resize(512, 0);
    let archive = written(&[(map, records.as_bytes()), (header("a"), &no_parts)]);
    assert!(is_ambiguous(&archive), "{:?}", read(&archive));
}

/// GNU tar passes over a NUL before a number; what stands behind one is read by some.
#[test]
fn a_size_that_is_read_in_several_ways_is_refused() {
    for (size, good) in [
        (b"00000000005\0", true),
        (b"00000000005 ", true),
        (b"          5\0", true),
        (b"\x80\0\0\0\0\0\0\0\0\0\0\x05", true),
        (b"\x80\0\x01\0\0\0\0\0\0\0\0\x05", false),
        (b"\x80\0\0\0\x80\0\0\0\0\0\0\x05", false),
        (b"\xff\x07\0\0\0\0\0\0\0\0\0\x05", false),
        (b"\x0000000000005", false),
        (b"5\0\0\0\0\0\0\0\0\0\x007", false),
        (b"5        x\0\0", false),
        (b"00000000009\0", false),
    ] {
        let mut archive = written(&[(header("a"), b"hello")]);
        edit(&mut archive, 0, 124, size);
        let read = read(&archive);
        assert_eq!(read.is_ok(), good, "{size:?}: {read:?}");
    }
}

/// Python reads a long name on into what fills its block.
#[test]
fn what_fills_up_a_header_is_zeroes() {
    let long = Header {
        flag: b'L',
        ..header("././@LongLink")
    };
    let mut archive = written(&[(long, b"name"), (header("a"), b"")]);
    assert!(read(&archive).is_ok());
    archive[512 + 4] = b's';
    assert!(is_ambiguous(&archive));
}

/// GNU tar writes times before 1970 so.
#[test]
fn a_binary_time_is_read_on_both_sides_of_1970() {
    let mtime = |bytes: &[u8; 12]| {
        let mut archive = written(&[(header("a"), b"hello")]);
        edit(&mut archive, 0, 136, bytes);
        let mut reader = ArchiveReader::new(&archive[..], &Limits::default());
        let entry = reader.next_entry().ok()??;
        Some(entry.mtime.seconds)
    };
    assert_eq!(mtime(&[0xff; 12]), Some(-1));
    assert_eq!(
        mtime(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0"),
        Some(-256)
    );
    assert_eq!(mtime(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
    assert_eq!(mtime(b"\xbf\0\0\0\0\0\0\0\0\0\x01\0"), None);
}

/// With a prefix it would be a directory to us, and a file to Python.
#[test]
fn an_entry_without_a_name_is_refused() {
    let mut archive = written(&[(header("a"), b"")]);
    edit(&mut archive, 0, 0, b"\0");
    assert!(read(&archive).is_err());
    edit(&mut archive, 0, 345, b"dir");
    assert!(is_ambiguous(&archive));
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut archive = written(&[(header("a"), b"hello")]);
    archive[0] = b'b';
    assert!(matches!(
        read(&archive),
        Err(ArchiveError::Damaged { offset: 0, .. })
    ));
}

#[test]
fn what_follows_the_end_must_be_zeroes() {
    let mut archive = written(&[(header("a"), b"hello")]);
    archive.extend_from_slice(&[0; 9000]);
    assert!(read(&archive).is_ok());
    archive.extend_from_slice(&written(&[(header("hidden"), b"")]));
    assert!(is_ambiguous(&archive));
}

#[test]
fn a_block_of_zeroes_between_entries_is_refused() {
    let mut archive = written(&[(header("a"), b"hello")]);
    archive.truncate(1024 + 512);
    assert!(read(&archive).is_ok(), "one block at the end is enough");
    archive.extend_from_slice(&written(&[(header("b"), b"")]));
    assert!(is_ambiguous(&archive));
}

#[test]
fn an_archive_may_lack_its_end_but_not_end_inside_an_entry() {
    let whole = written(&[(header("a"), b"hello"), (header("b"), b"")]);
    for length in 0..whole.len() {
        let good = matches!(length, 0 | 1024) || length >= 1536 && length % 512 == 0;
        let result = read(&whole[..length]);
        assert_eq!(result.is_ok(), good, "{length}: {result:?}");
    }
}

#[test]
fn global_records_may_only_comment() {
    let global = |records: &[u8]| {
        let header = Header {
            flag: b'g',
            ..header("pax_global_header")
        };
        written(&[(header, records), (self::header("a"), b"")])
    };
    assert!(
        read(&global(
            b"52 comment=0123456789012345678901234567890123456789\n"
        ))
        .is_ok()
    );
    assert!(is_ambiguous(&global(b"9 path=b\n")));
}

// T-A28, T-C20
#[test]
fn paths_are_cleaned_by_their_letters_and_never_lead_out() {
    for (path, clean) in [("./a", "a"), ("/a", "a"), ("a//b", "a/b"), ("a/../b", "b")] {
        let archive = written(&[(header(path), b"")]);
        assert_eq!(read(&archive).unwrap()[0].0, clean);
    }
    for path in ["../a", "a/../../b", "/../a", ".."] {
        let archive = written(&[(header(path), b"")]);
        let error = read(&archive).unwrap_err();
        assert!(matches!(error, ArchiveError::Escapes { .. }), "{path}");
    }
}

// T-C23
#[test]
fn metadata_and_entries_are_capped() {
    let limits = Limits {
        layer_entries: 2,
        entry_metadata_bytes: 4096,
        ..Limits::default()
    };
    let fails = |archive: &[u8]| {
        let mut reader = ArchiveReader::new(archive, &limits);
        loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    };
    let one = (header("a"), &b""[..]);
    assert!(!fails(&written(&[one.clone(), one.clone()])));
    assert!(fails(&written(&[one.clone(), one.clone(), one])));
    let records = format!("{} comment={}\n", 5000, "x".repeat(4986));
    assert!(fails(&with_records(&records)));
    let mut huge = with_records("9 path=b\n");
    edit(&mut huge, 0, 124, b"10000000000\0");
    assert!(fails(&huge), "a PAX header of 1 GiB");
}

#[test]
fn a_sparse_map_without_an_end_is_refused_and_does_not_hang() {
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.realsize=99\n";
    let pax = Header {
        flag: b'x',
        ..header("p")
    };
    let content = vec![b'1'; 3 << 20];
    let archive = written(&[(pax, records.as_bytes()), (header("a"), &content)]);
    assert!(read(&archive).is_err());
}

#[test]
fn a_file_with_holes_is_read_with_its_map() {
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=2000\n";
    let records = format!("{records}22 GNU.sparse.name=holes\n")
        .replace("22 GNU.sparse.name", "25 GNU.sparse.name");
    let pax = Header {
        flag: b'x',
        ..header("p")
    };
    let mut content = b"1\n1000\n5\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"hello");
    let archive = written(&[(pax, records.as_bytes()), (header("a"), &content)]);
    let mut reader = ArchiveReader::new(&archive[..], &Limits::default());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.path.to_str(), Some("holes"));
    assert_eq!((entry.size, entry.length), (5, 2000));
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "hello");
    assert!(reader.next_entry().unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_damage_is_an_error_or_a_reading_but_never_a_panic(
        changes in proptest::collection::vec((0_usize..4096, any::<u8>()), 1..6),
        fix_checksums: bool,
    ) {
        let mut archive = with_records("20 atime=12.0000001\n");
        archive.extend_from_slice(&[0; 512]);
        for (at, byte) in &changes {
            let at = at % archive.len();
            archive[at] = *byte;
            if fix_checksums {
                let block = at / 512;
                let within = at % 512;
                edit(&mut archive, block, within, &[*byte]);
            }
        }
        let mut reader = ArchiveReader::new(Cursor::new(archive), &Limits::default());
        while let Ok(Some(entry)) = reader.next_entry() {
            prop_assert!(!entry.path.is_absolute());
            prop_assert!(!entry.path.components().any(|it| it.as_os_str() == ".."));
        }
    }

    #[test]
    fn names_of_any_bytes_come_back(
        name in "([a-zé]{1,40}/){0,12}[a-zé]{1,120}", link in "[a-z\u{e9}]{0,200}", uid in 0_u32.., mtime in -9_000_000_000_i64..9_000_000_000,
    ) {
        let header = Header {
            flag: if link.is_empty() { b'0' } else { b'2' },
            link: link.clone().into_bytes(),
            uid: uid.into(),
            mtime,
            ..header(&name)
        };
        let archive = written(&[(header, b"")]);
        let mut reader = ArchiveReader::new(Cursor::new(archive), &Limits::default());
        let entry = reader.next_entry().unwrap().unwrap();
        prop_assert_eq!(entry.path.to_str(), Some(name.as_str()));
        prop_assert_eq!(entry.link.to_str(), Some(link.as_str()));
        prop_assert_eq!(entry.uid, uid);
        prop_assert_eq!(entry.mtime.seconds, mtime);
    }
}

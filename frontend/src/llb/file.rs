//! Steps that change files.

use cooper_proto::pb;

use super::graph::Output;
use crate::golang::path::{clean, is_absolute, join};

/// Actions on a file system, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct FileActions {
    /// What they start from; `None` is the empty file system.
    pub(crate) base: Option<Output>,
    /// The folder that relative paths start from.
    pub(crate) directory: String,
    /// The actions.
    pub(crate) actions: Vec<Action>,
}

/// One action. Paths are as given; they are made absolute when it is written down.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Makes a folder.
    Mkdir(pb::FileActionMkDir),
    /// Makes a file.
    Mkfile(pb::FileActionMkFile),
    /// Copies from another file system.
    Copy(CopySource, Box<pb::FileActionCopy>),
}

/// Where a copy comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopySource(pub(crate) Option<Output>);

impl FileActions {
    /// What it reads, last action first: the order in which BuildKit writes vertices down.
    pub(super) fn inputs(&self) -> Vec<Output> {
        let mut inputs = Vec::new();
        let mut add = |output: Option<Output>| {
            if let Some(output) = output
                && !inputs.contains(&output)
            {
                inputs.push(output);
            }
        };
        for action in self.actions.iter().rev() {
            add(self.base);
            if let Action::Copy(source, _) = action {
                add(source.0);
            }
        }
        inputs
    }

    /// The op, and its inputs by way of `input`. Actions read each other's outputs by numbers after the last input.
    pub(super) fn to_pb(&self, input: &mut dyn FnMut(Output) -> i64) -> pb::FileOp {
        let base = self.base.map_or(-1, &mut *input);
        let sources: Vec<i64> = self
            .actions
            .iter()
            .map(|action| match action {
                Action::Copy(source, _) => source.0.map_or(-1, &mut *input),
                _ => -1,
            })
            .collect();
        let first_of_actions = 1 + sources.iter().copied().chain([base]).max().unwrap_or(-1);
        let last = self.actions.len().saturating_sub(1);
        let actions = self.actions.iter().zip(&sources).enumerate();
        pb::FileOp {
            actions: actions
                .map(|(at, (action, &source))| pb::FileAction {
                    input: if at == 0 {
                        base
                    } else {
                        first_of_actions + at as i64 - 1
                    },
                    secondary_input: source,
                    output: if at == last { 0 } else { -1 },
                    action: Some(self.action(action, base)),
                })
                .collect(),
        }
    }

    fn action(&self, action: &Action, base: i64) -> pb::file_action::Action {
        match action {
            Action::Mkdir(mkdir) => pb::file_action::Action::Mkdir(pb::FileActionMkDir {
                path: self.absolute(&mkdir.path, false),
                owner: with_input(mkdir.owner.clone(), base),
                ..mkdir.clone()
            }),
            Action::Mkfile(mkfile) => pb::file_action::Action::Mkfile(pb::FileActionMkFile {
                path: self.absolute(&mkfile.path, false),
                owner: with_input(mkfile.owner.clone(), base),
                ..mkfile.clone()
            }),
            Action::Copy(_, copy) => {
                let source = clean(&copy.src);
                // Every source state is at its root.
                let src = if is_absolute(&source) {
                    source
                } else {
                    join(&["/", &source])
                };
                pb::file_action::Action::Copy(pb::FileActionCopy {
                    src,
                    dest: self.absolute(&copy.dest, true),
                    owner: with_input(copy.owner.clone(), base),
                    ..(**copy).clone()
                })
            }
        }
    }

    /// A clean absolute path; a trailing slash or `/.` says "a folder" and stays if it is to stay.
    fn absolute(&self, given: &str, keep_slash: bool) -> String {
        let mut path = clean(given);
        if !is_absolute(&path) {
            path = join(&["/", &self.directory, &path]);
        }
        if keep_slash {
            if given.ends_with('/') && !path.ends_with('/') {
                path.push('/');
            } else if given.ends_with("/.") {
                if path != "/" {
                    path.push('/');
                }
                path.push('.');
            }
        }
        path
    }
}

/// `user[:group]` by name or number. A name is looked up in the file system that the action starts from.
pub(crate) fn owner(text: &str) -> pb::ChownOpt {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    pb::ChownOpt {
        user: Some(account(user)),
        group: group.map(account),
    }
}

/// An owner by numbers.
pub(crate) fn owner_by_id(uid: u32, gid: u32) -> pb::ChownOpt {
    let by_id = |id| pb::UserOpt {
        user: Some(pb::user_opt::User::ById(id)),
    };
    pb::ChownOpt {
        user: Some(by_id(uid)),
        group: Some(by_id(gid)),
    }
}

fn account(text: &str) -> pb::UserOpt {
    let id = if text == "root" {
        Some(0)
    } else {
        text.parse::<i32>().ok()
    };
    let user = match id {
        // A negative number wraps around, as in BuildKit; the worker refuses what is no user.
        Some(id) => pb::user_opt::User::ById(id as u32),
        None if text.is_empty() => pb::user_opt::User::ById(0),
        None => pb::user_opt::User::ByName(pb::NamedUserOpt {
            name: text.to_owned(),
            input: -1,
        }),
    };
    pb::UserOpt { user: Some(user) }
}

fn with_input(owner: Option<pb::ChownOpt>, input: i64) -> Option<pb::ChownOpt> {
    let bound = |account: Option<pb::UserOpt>| {
        account.map(|mut account| {
            if let Some(pb::user_opt::User::ByName(name)) = &mut account.user {
                name.input = input;
            }
            account
        })
    };
    owner.map(|owner| pb::ChownOpt {
        user: bound(owner.user),
        group: bound(owner.group),
    })
}

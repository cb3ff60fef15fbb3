//! An order in which inputs come before the ops that use them.

/// Why ops have no such order.
pub(super) enum Disorder {
    /// The op at this position is on a circle, or stands on one.
    Cycle(usize),
    /// The longest way through the graph has this many ops.
    Deep(usize),
}

/// Orders ops by their inputs' positions; ties keep the definition's order.
///
/// Works level by level with a queue, so that neither a chain of a million ops nor a wide fan needs stack.
pub(super) fn order(inputs: &[Vec<usize>], depth_limit: usize) -> Result<Vec<usize>, Disorder> {
    let mut open: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let users = users_of(inputs);
    let mut depth = vec![1_usize; inputs.len()];
    let mut order: Vec<usize> = (0..inputs.len()).filter(|op| open[*op] == 0).collect();
    order.reserve_exact(inputs.len() - order.len());
    let mut next = 0;
    while let Some(&op) = order.get(next) {
        next += 1;
        if depth[op] > depth_limit {
            return Err(Disorder::Deep(depth[op]));
        }
        for &user in users.of(op) {
            depth[user] = depth[user].max(depth[op] + 1);
            open[user] -= 1;
            if open[user] == 0 {
                order.push(user);
            }
        }
    }
    match open.iter().position(|count| *count > 0) {
        Some(op) => Err(Disorder::Cycle(op)),
        None => Ok(order),
    }
}

/// For each op the ops that use it, once for each use, in two flat lists.
struct Users {
    starts: Vec<usize>,
    users: Vec<usize>,
}

impl Users {
    fn of(&self, op: usize) -> &[usize] {
        &self.users[self.starts[op]..self.starts[op + 1]]
    }
}

fn users_of(inputs: &[Vec<usize>]) -> Users {
    let mut starts = vec![0; inputs.len() + 1];
    for input in inputs.iter().flatten() {
        starts[input + 1] += 1;
    }
    for op in 0..inputs.len() {
        starts[op + 1] += starts[op];
    }
    let mut free = starts.clone();
    let mut users = vec![0; starts[inputs.len()]];
    for (user, inputs) in inputs.iter().enumerate() {
        for &input in inputs {
            users[free[input]] = user;
            free[input] += 1;
        }
    }
    Users { starts, users }
}

//! Containers that clients hold open, as the engine sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::ports::Containers;
use cooper_proto::control::SolveRequest;
use cooper_proto::frontend::exec_message::Input;
use cooper_proto::frontend::{
    ExecMessage, FdMessage, InitMessage, NewContainerRequest, ReleaseContainerRequest,
    ResizeMessage, ReturnRequest, SignalMessage,
};
use cooper_proto::pb;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::fake::{Bench, Client, CountedContainers, Counts, PATIENCE, Served, Setup};

const BUILD: &str = "driven";

/// A message that says which build it belongs to.
fn of<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = "buildkit-controlapi-buildid";
    let build = BUILD.parse().expect("ASCII");
    request.metadata_mut().insert(key, build);
    request
}

fn new_container(id: &str) -> Request<NewContainerRequest> {
    of(NewContainerRequest {
        container_id: id.to_owned(),
        ..NewContainerRequest::default()
    })
}

fn release(id: &str) -> Request<ReleaseContainerRequest> {
    of(ReleaseContainerRequest {
        container_id: id.to_owned(),
    })
}

fn say(process: &str, input: Input) -> ExecMessage {
    ExecMessage {
        process_id: process.to_owned(),
        input: Some(input),
    }
}

fn init(process: &str, container: &str, does: &str) -> ExecMessage {
    let meta = pb::Meta {
        args: vec![does.to_owned()],
        ..pb::Meta::default()
    };
    let init = InitMessage {
        container_id: container.to_owned(),
        meta: Some(meta),
        fds: vec![0, 1],
        ..InitMessage::default()
    };
    say(process, Input::Init(init))
}

fn last_input(process: &str) -> ExecMessage {
    let file = FdMessage {
        fd: 0,
        eof: true,
        ..FdMessage::default()
    };
    say(process, Input::File(file))
}

/// A build whose frontend is the test, until the test returns.
async fn drive<F: Future<Output = ()>>(
    containers: Arc<dyn Containers>,
    test: impl FnOnce(Client, Client) -> F,
) {
    let bench = Bench::new(Setup {
        containers: Some(containers),
        ..Setup::default()
    });
    let served = Served::new(&bench.engine);
    let (mut outer, mut inner) = (served.client().await, served.client().await);
    let opened = SolveRequest {
        r#ref: BUILD.to_owned(),
        ..SolveRequest::default()
    };
    let test = test(served.client().await, served.client().await);
    let test = async {
        test.await;
        let nothing = of(ReturnRequest::default());
        inner.gateway.r#return(nothing).await.expect("taken");
    };
    let (solved, ()) = futures::join!(outer.control.solve(opened), test);
    assert!(solved.is_ok(), "{solved:?}");
    drop((outer, inner));
    bench.engine.shutdown().await;
    served.stop().await;
}

async fn converse(client: &mut Client) -> (mpsc::Sender<ExecMessage>, Streaming<ExecMessage>) {
    let (tell, told) = mpsc::channel(8);
    let messages = of(ReceiverStream::new(told));
    let answer = client.gateway.exec_process(messages).await;
    (tell, answer.expect("a conversation").into_inner())
}

async fn next(answer: &mut Streaming<ExecMessage>) -> (String, Input) {
    let message = answer.message().await.expect("a stream");
    let message = message.expect("a message");
    (message.process_id, message.input.expect("something"))
}

/// BuildKit's client hands the messages of all programs on one after the other: it hears that a program has started only
/// after it got rid of what those before it wrote, which may be what the new one is to read.
#[tokio::test]
async fn a_further_program_is_said_to_have_started_before_it_has() {
    let world = CountedContainers::default();
    let containers: Arc<dyn Containers> = Arc::new(world.clone());
    drive(containers, |mut client, _| async move {
        client
            .gateway
            .new_container(new_container("one"))
            .await
            .expect("a container");
        let (tell, mut answer) = converse(&mut client).await;
        for (process, does) in [("first", "waits"), ("late", "late"), ("next", "ends")] {
            tell.send(init(process, "one", does)).await.expect("heard");
        }
        for process in ["first", "late", "next"] {
            let (of, input) = next(&mut answer).await;
            assert_eq!(of, process);
            assert!(matches!(input, Input::Started(_)), "{input:?}");
        }
        // What was said to it meanwhile is not lost, and the one beside it runs.
        tell.send(last_input("late")).await.expect("heard");
        let (of, _) = next(&mut answer).await;
        assert_eq!(of, "next");
        world.let_go();
        let exit = loop {
            match next(&mut answer).await {
                (of, Input::Exit(exit)) if of == "late" => break exit,
                _ => {}
            }
        };
        assert_eq!(exit.code, 3);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_keep_a_container() {
    let world = CountedContainers::default();
    let containers: Arc<dyn Containers> = Arc::new(world.clone());
    drive(containers, |mut client, mut other| async move {
        client
            .gateway
            .new_container(new_container("one"))
            .await
            .expect("a container");
        let (tell, answer) = converse(&mut client).await;
        tell.send(init("first", "one", "waits"))
            .await
            .expect("heard");
        while world.counts().started == 0 {
            tokio::task::yield_now().await;
        }
        for number in 0..200 {
            let process = format!("p{number}");
            tell.send(init(&process, "one", "speaks"))
                .await
                .expect("heard");
        }
        let released = other.gateway.release_container(release("one"));
        let released = tokio::time::timeout(PATIENCE, released).await;
        released.expect("in time").expect("it is released");
        drop((tell, answer));
        let gone = async {
            while world.counts().programs > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("in time");
    })
    .await;
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(bound).expect("a number");
        usize::try_from((self.0 >> 33) % bound).expect("a number")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// How far each program was told of.
#[derive(Default)]
struct Told(Mutex<BTreeMap<String, u8>>);

impl Told {
    /// Started, then what it wrote, then its exit, then that this is all.
    fn hear(&self, message: ExecMessage) {
        let stage = match message.input.expect("something") {
            Input::Started(_) => 1,
            Input::File(_) => 2,
            Input::Exit(_) => 3,
            Input::Done(_) => 4,
            other => panic!("a server does not say {other:?}"),
        };
        let mut all = self.0.lock();
        let before = all.insert(message.process_id.clone(), stage);
        let fits = match (before, stage) {
            (before, 1) => before.is_none(),
            (Some(before), 2) => before < 3,
            (Some(before), 3) => before < 3,
            (Some(before), _) => before == 3,
            (None, _) => false,
        };
        assert!(fits, "{}: {stage} after {before:?}", message.process_id);
    }
}

const CONTAINERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const DOES: [&str; 5] = ["waits", "waits", "ends", "speaks", "fails"];

/// Steps of one seed.
const STEPS: usize = 1_000;

struct Chaos {
    numbers: Numbers,
    client: Client,
    talks: Vec<Option<mpsc::Sender<ExecMessage>>>,
    readers: JoinSet<()>,
    programs: Vec<String>,
    made: usize,
}

impl Chaos {
    async fn step(&mut self) {
        let talk = self.numbers.below(self.talks.len());
        if self.talks[talk]
            .as_ref()
            .is_none_or(mpsc::Sender::is_closed)
        {
            self.talks[talk] = Some(self.open().await);
        }
        let container = self.numbers.one(&CONTAINERS);
        let some = self.numbers.below(self.programs.len() + 1);
        let program = self.programs.get(some).cloned();
        let program = program.unwrap_or_else(|| "unknown".to_owned());
        let message = match self.numbers.below(100) {
            0..10 => {
                let _taken = self
                    .client
                    .gateway
                    .new_container(new_container(container))
                    .await;
                return;
            }
            10..16 => {
                let _unknown = self
                    .client
                    .gateway
                    .release_container(release(container))
                    .await;
                return;
            }
            16..18 => {
                self.talks[talk] = None;
                return;
            }
            18..60 => {
                self.made += 1;
                let process = format!("{talk}:{}", self.made);
                if self.programs.len() > 8 {
                    self.programs.remove(0);
                }
                self.programs.push(process.clone());
                init(&process, container, self.numbers.one(&DOES))
            }
            60..70 => last_input(&program),
            70..80 => say(
                &program,
                Input::File(FdMessage {
                    fd: 0,
                    eof: false,
                    data: vec![7; 2000].into(),
                }),
            ),
            80..90 => say(&program, Input::Resize(ResizeMessage { rows: 9, cols: 9 })),
            _ => say(
                &program,
                Input::Signal(SignalMessage {
                    name: "KILL".to_owned(),
                }),
            ),
        };
        if let Some(tell) = &self.talks[talk] {
            // A conversation ends with the first message that makes no sense.
            let _over = tell.send(message).await;
        }
    }

    /// Opens a conversation; somebody reads it to its end, or gives up soon.
    async fn open(&mut self) -> mpsc::Sender<ExecMessage> {
        let (tell, mut answer) = converse(&mut self.client).await;
        let patience = match self.numbers.below(3) {
            0 => self.numbers.below(20),
            _ => usize::MAX,
        };
        self.readers.spawn(async move {
            let told = Told::default();
            for _ in 0..patience {
                match answer.message().await {
                    Ok(Some(message)) => told.hear(message),
                    _ => return,
                }
            }
        });
        tell
    }
}

// T-A25
#[tokio::test]
async fn any_order_of_what_clients_do_to_containers_leaves_nothing() {
    for seed in 0..10 {
        let world = CountedContainers::default();
        let containers: Arc<dyn Containers> = Arc::new(world.clone());
        drive(containers, |client, _| async move {
            let mut chaos = Chaos {
                numbers: Numbers(seed),
                client,
                talks: vec![None, None, None],
                readers: JoinSet::new(),
                programs: Vec::new(),
                made: 0,
            };
            for _ in 0..STEPS {
                chaos.step().await;
            }
            chaos.talks.clear();
            while let Some(read) = chaos.readers.join_next().await {
                read.expect("messages in their order");
            }
        })
        .await;
        let Counts {
            containers,
            programs,
            created,
            started,
        } = world.counts();
        assert_eq!((containers, programs), (0, 0), "seed {seed}");
        assert!(
            created > 10 && started > 50,
            "seed {seed}: {created} {started}"
        );
    }
}

//! A region in memory with a host that does what rows say: instances start, gateways become available.

use std::collections::BTreeMap;

use atoll_model::instance::UserDataRun;
use atoll_model::stack::{Stack, StackEvent, StackId, StackStatus};
use atoll_model::{
    AccountId, Instance, InstanceState, Key, NatGateway, NatGatewayState, RegionName, Row, Timestamp,
};
use atoll_region::instance::InstanceObserved;
use atoll_region::invariant::invariants;
use atoll_region::nat_gateway::{NatGatewayGone, NatGatewayReady};
use atoll_region::{Command, Config, Context, Error, Noun, Region};
use atoll_stack::{CreateStack, DeleteStack, Planner, Step, steps};

#[allow(dead_code)]
pub struct Lab {
    pub region: Region,
    pub now: Timestamp,
    /// How user data of new instances ends.
    pub user_data: UserDataRun,
    /// Whether the host is at work at all.
    pub host: bool,
    /// Whether everything is loaded anew from its stored form before each step, and each step lost once.
    pub crashing: bool,
    /// Whether plans are kept between steps.
    pub planner: Option<Planner>,
    pub taken: Vec<Step>,
}

#[allow(dead_code)]
impl Lab {
    pub fn new() -> Self {
        Self {
            region: Region::new(config()),
            now: Timestamp(1_700_000_000_000),
            user_data: UserDataRun::Exited(0),
            host: true,
            crashing: false,
            planner: None,
            taken: Vec::new(),
        }
    }

    /// One whose host runs nothing in instances.
    pub fn without_processes() -> Self {
        let config = Config {
            runs_instances: false,
            ..config()
        };
        Self {
            region: Region::new(config),
            user_data: UserDataRun::None,
            ..Self::new()
        }
    }

    /// Applies a command; the seed is the revision, so that the same history gives the same ids.
    pub fn try_run<C: Command>(&mut self, command: C) -> Result<C::Reply, Error> {
        let context = Context {
            account: AccountId::DEFAULT,
            now: self.now,
            seed: self.region.revision().0,
        };
        let applied = self.region.apply(&context, command)?;
        self.region = applied.region;
        let broken = invariants(&self.region);
        assert!(broken.is_empty(), "{broken:?}");
        Ok(applied.reply)
    }

    #[track_caller]
    pub fn run<C: Command>(&mut self, command: C) -> C::Reply {
        self.try_run(command).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a restart finds: rows as they are stored.
    fn restart(&mut self) {
        let rows = self.region.rows().map(|row| {
            let bytes = row.encode().unwrap();
            Row::decode(row.key().table(), &bytes).unwrap()
        });
        let rows: Vec<Row> = rows.collect();
        self.region = Region::load(config(), self.region.revision(), rows);
    }

    /// Takes every step that is ready, once. Whether there was one.
    pub fn step(&mut self, id: StackId) -> bool {
        let ready = match &mut self.planner {
            Some(planner) => planner.steps(&self.region, self.now),
            None => steps(&self.region, id, self.now),
        };
        let any = !ready.is_empty();
        for step in ready {
            if self.crashing {
                // The step was applied, but never became durable.
                let kept = self.region.clone();
                self.run(step.clone());
                self.region = kept;
                self.restart();
            }
            self.taken.push(step.clone());
            self.run(step);
        }
        any
    }

    /// What a host does with what the rows say. Whether it did something.
    pub fn host_works(&mut self) -> bool {
        let before = self.region.revision();
        let instances: Vec<_> = Instance::table(&self.region).values().cloned().collect();
        for instance in instances {
            let observed = |state, user_data_run| InstanceObserved {
                id: instance.id,
                state,
                user_data_run,
                failure: None,
            };
            match instance.state {
                InstanceState::Pending => {
                    let run = instance.user_data.as_ref().map(|_| self.user_data);
                    self.run(observed(InstanceState::Running, run));
                }
                InstanceState::ShuttingDown => {
                    self.run(observed(InstanceState::Terminated, None));
                }
                _ => {}
            }
        }
        let gateways: Vec<_> = NatGateway::table(&self.region).values().cloned().collect();
        for gateway in gateways {
            match gateway.state {
                NatGatewayState::Pending => {
                    self.run(NatGatewayReady { gateway: gateway.id });
                }
                NatGatewayState::Deleting => {
                    self.run(NatGatewayGone { gateway: gateway.id });
                }
                _ => {}
            }
        }
        self.region.revision() != before
    }

    /// Goes on until nothing moves any more.
    pub fn settle(&mut self, id: StackId) {
        for _ in 0..1000 {
            let moved = self.step(id) || (self.host && self.host_works());
            if !moved {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.stack(id));
    }

    pub fn create(&mut self, template: &str, parameters: &[(&str, &str)]) -> StackId {
        self.run(create("test", template, parameters))
    }

    /// Creates a stack and sees it through.
    #[track_caller]
    pub fn deploy(&mut self, template: &str, parameters: &[(&str, &str)]) -> StackId {
        let id = self.create(template, parameters);
        self.settle(id);
        self.ends(id, StackStatus::CreateComplete);
        id
    }

    pub fn delete(&mut self, id: StackId) {
        let stack = self.stack(id).arn();
        self.run(DeleteStack {
            stack,
            retain: Vec::new(),
        });
        self.settle(id);
    }

    /// Asserts where the stack stands, with its events when it stands elsewhere.
    #[track_caller]
    pub fn ends(&self, id: StackId, status: StackStatus) {
        assert_eq!(self.stack(id).status, status, "{:#?}", self.events(id));
    }

    pub fn stack(&self, id: StackId) -> Stack {
        (**self.region.get::<Stack>(id).unwrap()).clone()
    }

    /// Status and logical id of each event, with the reason if there is one.
    pub fn events(&self, id: StackId) -> Vec<String> {
        let events = self.region.dependants_of::<StackEvent>(Key::Stack(id));
        events
            .map(|event| {
                let reason = event
                    .reason
                    .as_ref()
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                format!("{} {}{reason}", event.logical_id, event.status)
            })
            .collect()
    }

    pub fn physical(&self, id: StackId, logical_id: &str) -> String {
        self.stack(id).resources[logical_id].physical.clone().unwrap()
    }

    /// Keys of rows that are something: not the stacks themselves, not the memory of what is over.
    pub fn left(&self) -> Vec<Key> {
        let over = |row: &Row| match row {
            Row::Stack(_) | Row::StackEvent(_) | Row::StackTemplate(_) => true,
            Row::Instance(instance) => instance.state == InstanceState::Terminated,
            Row::NatGateway(gateway) => gateway.state == NatGatewayState::Deleted,
            _ => false,
        };
        self.region
            .rows()
            .filter(|row| !over(row))
            .map(|row| row.key())
            .collect()
    }

    pub fn all<N: Noun>(&self) -> Vec<std::sync::Arc<N>> {
        N::table(&self.region).values().cloned().collect()
    }
}

fn config() -> Config {
    Config::default_for(RegionName::DEFAULT, 0)
}

pub fn create(name: &str, template: &str, parameters: &[(&str, &str)]) -> CreateStack {
    let parameters: BTreeMap<String, String> = parameters
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    CreateStack {
        parameters,
        capabilities: vec!["CAPABILITY_IAM".to_owned(), "CAPABILITY_NAMED_IAM".to_owned()],
        ..CreateStack::new(name, template)
    }
}

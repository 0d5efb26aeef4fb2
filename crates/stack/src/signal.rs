//! Signals from inside instances (`cfn-signal`): to a resource with a creation policy, or to a wait
//! condition's handle.

use atoll_model::stack::{ResourceStatus, Stack, StackId, StackSignal, StackStatus, WantedSignals};
use atoll_region::{Command, Error, Transaction};

use crate::create::{find, validation};
use crate::life::Progress;

/// Most signals that a resource keeps.
const MAX_SIGNALS: usize = 200;
/// Most characters of a signal's data or reason.
const MAX_TEXT: usize = 4096;

/// Where a signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A resource of a stack: `cfn-signal --stack STACK --resource ID`.
    Resource {
        /// The stack's name, ARN or id.
        stack: String,
        /// The logical id.
        logical_id: String,
    },
    /// What `Ref` of a wait condition's handle returned: `cfn-signal URL`.
    Handle(String),
}

/// SignalResource. The same signal twice (the same unique id) is one signal, so that a deliverer may
/// repeat it.
#[derive(Clone, Debug)]
pub struct SignalResource {
    /// To whom.
    pub recipient: Recipient,
    /// Who signals: an instance's id, unless the caller says otherwise.
    pub unique_id: String,
    /// Success or failure.
    pub success: bool,
    /// Why.
    pub reason: Option<String>,
    /// What a wait condition returns.
    pub data: Option<String>,
}

impl Command for SignalResource {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let (stack, logical_id) = match &self.recipient {
            Recipient::Resource { stack, logical_id } => (
                find(tx.region(), tx.account(), stack)?.clone(),
                logical_id.clone(),
            ),
            Recipient::Handle(url) => {
                let (id, logical_id) = of_handle(url)
                    .ok_or_else(|| validation(format!("{url} is not the handle of a wait condition")))?;
                ((*tx.find::<Stack>(id)?).clone(), logical_id)
            }
        };
        if stack.status != StackStatus::CreateInProgress {
            return Err(validation(format!(
                "Stack {} is in {} state and can not be signaled",
                stack.name, stack.status
            )));
        }
        let mut stack = stack;
        let Some(resource) = stack.resources.get_mut(&logical_id) else {
            return Err(validation(format!(
                "Resource {logical_id} does not exist for stack {}",
                stack.name
            )));
        };
        match (&self.recipient, resource.status) {
            (Recipient::Handle(_), _) | (_, ResourceStatus::CreateInProgress) => {}
            (_, status) => {
                return Err(validation(format!(
                    "Resource {logical_id} is in {status} state and can not be signaled"
                )));
            }
        }
        let signal = StackSignal {
            unique_id: cut(&self.unique_id, 64),
            success: self.success,
            reason: self.reason.as_deref().map(|text| cut(text, MAX_TEXT)),
            data: self.data.as_deref().map(|text| cut(text, MAX_TEXT)),
        };
        if resource
            .signals
            .iter()
            .any(|known| known.unique_id == signal.unique_id)
        {
            return Ok(());
        }
        if resource.signals.len() >= MAX_SIGNALS {
            return Err(validation(format!(
                "Resource {logical_id} has received {MAX_SIGNALS} signals and takes no more"
            )));
        }
        resource.signals.push(signal);
        tx.put(stack);
        Ok(())
    }
}

/// How far the wanted signals have come.
pub(crate) fn heard(signals: &[StackSignal], wanted: WantedSignals) -> Progress {
    if let Some(failure) = signals.iter().find(|signal| !signal.success) {
        let why = failure.reason.as_deref().unwrap_or_default();
        return Progress::Failed(format!(
            "Received FAILURE signal with UniqueId {}. {why}",
            failure.unique_id
        ));
    }
    if signals.len() >= wanted.count as usize {
        Progress::Complete
    } else {
        Progress::Waiting
    }
}

/// What `Ref` of a wait condition's handle returns.
pub(crate) fn handle(stack: &Stack, logical_id: &str) -> String {
    format!(
        "https://cloudformation-waitcondition-{}.s3.amazonaws.com/{}/{logical_id}",
        stack.region, stack.id
    )
}

fn of_handle(url: &str) -> Option<(StackId, String)> {
    let rest = url.strip_prefix("https://cloudformation-waitcondition-")?;
    let (_, path) = rest.split_once('/')?;
    let (id, logical_id) = path.split_once('/')?;
    Some((id.parse().ok()?, logical_id.to_owned()))
}

/// The logical id that a handle's `Ref` names.
pub(crate) fn handle_logical_id(url: &str) -> Option<String> {
    of_handle(url).map(|(_, logical_id)| logical_id)
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

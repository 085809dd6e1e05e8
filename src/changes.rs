//! Which settings may change when a run is resumed, and what follows from a change.

use clap::Parser;
use serde_json::{Map, Value};
use topk_history::ChangedSetting;

use crate::config::Config;
use crate::defaults::FOLLOW_THE_DATA;

/// What a setting has an effect on, other than the weights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// When training ends.
    Length,
    /// Epochs that have not begun.
    LaterEpochs,
    /// Where the images are.
    Paths,
    /// Where and how fast the run is computed.
    Machine,
    /// Whether the run continues after an error.
    Errors,
    /// What is measured and kept beside the best checkpoints.
    Records,
    /// The test after training.
    Test,
    /// The test after training, but recorded in the best checkpoints, which are written already.
    Recorded,
}

/// The settings that do not decide the weights, and may change when a run is resumed, except for those that are
/// [recorded](Effect::Recorded). All others decide the weights, or which of them are the best.
const EFFECTS: [(&str, Effect); 28] = [
    // The epochs so far are the same ones of a longer run, as far as the learning rate and the loss do not depend
    // on the number of epochs; if they do, that is printed.
    ("epochs", Effect::Length),
    ("patience", Effect::Length),
    ("min-delta", Effect::Length),
    // An epoch's learning rate depends only on the milestones up to it.
    ("decay-milestones", Effect::LaterEpochs),
    // The record of the images decides, wherever they are.
    ("data", Effect::Paths),
    ("val-data", Effect::Paths),
    ("format", Effect::Paths),
    ("class-map", Effect::Paths),
    // Rounding only: a resumed run computes the same on the same processor with the same number of threads.
    ("device", Effect::Machine),
    ("workers", Effect::Machine),
    ("validation-batch-size", Effect::Machine),
    ("deterministic", Effect::Machine),
    ("cudnn-benchmark", Effect::Machine),
    // The same pixels, and the same steps.
    ("augment-on-device", Effect::Machine),
    ("cuda-graphs", Effect::Machine),
    ("log-interval", Effect::Machine),
    // Without a bad step or image both policies are the same, and the epochs so far have followed theirs.
    ("on-nan", Effect::Errors),
    ("on-bad-image", Effect::Errors),
    ("log-images", Effect::Records),
    ("log-format", Effect::Records),
    ("val-topk", Effect::Records),
    ("val-raw", Effect::Records),
    ("save-last", Effect::Records),
    ("checkpoint-hist", Effect::Records),
    // Further epochs are validated, of which the best may be.
    ("checkpoint-interval", Effect::Records),
    // Test images are used after training.
    ("test-data", Effect::Test),
    ("test-crops", Effect::Test),
    // The best checkpoints say how their images are resized.
    ("test-resize", Effect::Recorded),
];

/// Settings whose default follows from the data or from other settings. If they are not given when a run is
/// resumed, they are those of the run.
fn following() -> impl Iterator<Item = &'static str> {
    FOLLOW_THE_DATA.into_iter().chain(["decay-milestones"])
}

/// Settings that a continuation in another folder must share with the run: the network, and what is recorded in the
/// best checkpoints of both.
const OF_NETWORK: [&str; 3] = ["model", "in-chans", "test-resize"];

/// Settings on which the accuracies depend that select the best checkpoints.
const OF_VALIDATION: [&str; 5] = [
    "topk",
    "eval-metric",
    "input-size",
    "val-resize",
    "limit-batches",
];

/// Settings on which the learning rates of `--sched plateau` depend.
const OF_PLATEAU: [&str; 8] = [
    "opt",
    "lr",
    "lr-base",
    "lr-base-size",
    "lr-base-scale",
    "sched",
    "decay-rate",
    "min-lr",
];

/// Settings on which the batches of an epoch depend.
const OF_BATCHES: [&str; 7] = [
    "batch-size",
    "seed",
    "drop-last",
    "sampler",
    "aug-repeats",
    "limit-batches",
    "overfit-batches",
];

/// The settings that changed since a run was saved, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes(Vec<ChangedSetting>);

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Words {
    #[command(flatten)]
    config: Config,
}

/// The settings of these keys and values, which have those of a run's log.
fn parsed(settings: &Map<String, Value>) -> Option<Config> {
    fn text(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
            value => value.to_string(),
        }
    }
    let words = settings.iter();
    let words = words.map(|(key, value)| format!("--{key}={}", text(value)));
    Words::try_parse_from(words).ok().map(|words| words.config)
}

/// The given settings, with those of a saved run in place of missing ones whose default follows from others.
pub(crate) fn as_saved(given: &Config, saved: &Map<String, Value>) -> Config {
    let mut settings = given.to_map();
    // Settings of augmentation and of the schedule replace those of the run.
    let is_replaced = |key: &str| match key {
        "augment" => given.augmenting.are_given(),
        "decay-milestones" => given.schedule.decay_epochs.is_some(),
        _ => false,
    };
    let missing = following().filter(|key| !settings.contains_key(*key) && !is_replaced(key));
    let found: Vec<_> = missing
        .filter_map(|key| Some((key.to_owned(), saved.get(key)?.clone())))
        .collect();
    if found.is_empty() {
        return given.clone();
    }
    settings.extend(found);
    // A value that cannot be parsed is reported as a difference.
    match parsed(&settings) {
        Some(config) => Config {
            decisions: given.decisions.clone(),
            ..config
        },
        None => given.clone(),
    }
}

impl Changes {
    /// The differences between the settings of a saved run and others. A setting that the program which saved the
    /// run did not have was at its default.
    pub(crate) fn between(saved: &Map<String, Value>, now: &Map<String, Value>) -> Self {
        // Some defaults follow from other settings.
        let defaults = parsed(saved).or_else(|| parsed(&Map::new()));
        let defaults = defaults.map(|config| config.resolved().to_map());
        let defaults = defaults.unwrap_or_default();
        let mut keys: Vec<&String> = saved.keys().chain(now.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let changes = keys.into_iter().filter_map(|key| {
            let was = saved.get(key).or_else(|| defaults.get(key));
            (was != now.get(key)).then(|| ChangedSetting {
                setting: key.clone(),
                was: was.cloned().unwrap_or_default(),
                now: now.get(key).cloned().unwrap_or_default(),
            })
        });
        Self(changes.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn settings(&self) -> &[ChangedSetting] {
        &self.0
    }

    /// Those that this function selects.
    fn only(&self, is_selected: impl Fn(&ChangedSetting) -> bool) -> Self {
        let selected = self.0.iter().filter(|changed| is_selected(changed));
        Self(selected.cloned().collect())
    }

    /// The changes that resuming a run does not allow after this many epochs, counting one that has begun.
    pub(crate) fn refused(&self, begun: usize) -> Self {
        self.only(|changed| match effect(&changed.setting) {
            None | Some(Effect::Recorded) => true,
            Some(Effect::LaterEpochs) => {
                let so_far = |milestones: &Value| {
                    let milestones = milestones.as_array().into_iter().flatten();
                    let milestones = milestones.filter_map(Value::as_u64);
                    let mut so_far: Vec<u64> =
                        milestones.filter(|&first| first <= begun as u64).collect();
                    so_far.sort_unstable();
                    so_far
                };
                so_far(&changed.was) != so_far(&changed.now)
            }
            Some(_) => false,
        })
    }

    /// The changes with this effect.
    pub(crate) fn with(&self, effect_of: Effect) -> Self {
        self.only(|changed| effect(&changed.setting) == Some(effect_of))
    }

    /// The changes with which a run cannot be continued in another folder.
    pub(crate) fn of_network(&self) -> Self {
        self.only(|changed| OF_NETWORK.contains(&&*changed.setting))
    }

    /// The changes that make earlier validation accuracies incomparable with later ones.
    pub(crate) fn of_validation(&self) -> Self {
        self.only(|changed| OF_VALIDATION.contains(&&*changed.setting))
    }

    /// The changes that make other batches of an epoch.
    pub(crate) fn of_batches(&self) -> Self {
        self.only(|changed| OF_BATCHES.contains(&&*changed.setting))
    }

    /// The changes after which `--sched plateau` starts anew.
    pub(crate) fn of_schedule(&self) -> Self {
        self.only(|changed| OF_PLATEAU.contains(&&*changed.setting))
    }

    /// Whether a setting changed.
    pub(crate) fn has(&self, setting: &str) -> bool {
        self.0.iter().any(|changed| changed.setting == setting)
    }

    /// What follows from the changes for a run that is resumed in this epoch, one line each.
    pub(crate) fn decisions(&self, config: &Config, epoch: usize) -> Vec<String> {
        let mut decisions = Vec::new();
        let epochs = config.epochs;
        if self.has("epochs") {
            // The last epoch of the shorter run was validated because it was the last.
            let before = epoch.saturating_sub(1);
            if before > 0 && !config.validates(before) {
                decisions.push(format!(
                    "epoch {before} was validated, as the last one, and may be among the best; with --epochs {epochs} from \
                     the start it would not be"
                ));
            }
            let loss = &config.loss;
            let annealed = [("tau", loss.used_tau()), ("alpha", loss.used_alpha())];
            let annealed = annealed.into_iter().filter_map(|(name, value)| {
                let value = value.filter(|value| !value.is_constant())?;
                Some(format!("--{name} {value}"))
            });
            let sched = config.schedule.sched;
            let sched = sched.follows_epochs().then(|| sched.flag().to_owned());
            decisions.extend(sched.into_iter().chain(annealed).map(|setting| {
                format!("from epoch {epoch} on, {setting} follows a run of {epochs} epochs")
            }));
            if let Some(milestones) = &config.schedule.decay_milestones
                && !self.has("decay-milestones")
            {
                decisions.push(format!(
                    "--decay-milestones {milestones} are kept from the run"
                ));
            }
        }
        if self.has("device") || self.has("workers") {
            decisions.push(
                "the weights are bit-identical to those of an uninterrupted run only on the same device with \
                 the same number of threads"
                    .to_owned(),
            );
        }
        decisions
    }
}

/// What follows from another number of ranks, as a line.
pub(crate) fn other_ranks(was: usize, now: usize, config: &Config) -> Option<String> {
    if was == now {
        return None;
    }
    let plural = if now == 1 { "" } else { "s" };
    let statistics = match config.sync_bn {
        true => "",
        false => {
            "; batch normalisation computes with the images of each rank, of which there are now others"
        }
    };
    Some(format!(
        "{now} rank{plural} instead of {was}: sums over a batch are rounded differently{statistics}"
    ))
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changes: Vec<_> = self.0.iter().map(ChangedSetting::to_string).collect();
        f.write_str(&changes.join("; "))
    }
}

fn effect(setting: &str) -> Option<Effect> {
    let found = EFFECTS.iter().find(|(key, _)| *key == setting);
    found.map(|&(_, effect)| effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Milestones;
    use serde_json::json;

    fn config(words: &str) -> Config {
        let words = format!("--data=D {words}");
        Words::try_parse_from(words.split_whitespace())
            .unwrap()
            .config
    }

    fn map(words: &str) -> Map<String, Value> {
        config(words).resolved().to_map()
    }

    #[test]
    fn settings_with_an_effect_are_settings() {
        let all = map(
            "--model=basic-4 --channels-last --topk=1 --augment=none --format=folder --class-map=M --val-data=V --workers=2 --test-data=T --val-resize=9 --input-size=8 --in-chans=1 \
             --test-resize=9 --shuffle=shards --shuffle-buffer=9 --limit-batches=3 --val-topk=1,3 --model-ema-decay=0.9 --val-raw \
             --save-last --checkpoint-hist=2 --checkpoint-interval=2 --patience=2 --min-delta=0.5 --eval-metric=loss",
        );
        for key in EFFECTS.map(|(key, _)| key).into_iter().chain(following()) {
            assert!(all.contains_key(key), "{key}");
        }
        for key in OF_NETWORK.into_iter().chain(OF_VALIDATION) {
            assert!(all.contains_key(key), "{key}");
        }
    }

    #[test]
    fn settings_survive_being_saved() {
        for words in [
            "",
            "--augment=crop:4,flip --mix=mixup:0.2,cutmix:1 --sched=cosine --tau=10..0.1 --amp --lr=1e-5",
            "--input-size=3,48,64 --scale=0.2,1 --color-jitter=0.3,0.2,0.1 --aa=3a --reprob=0.25 --remode=rand",
            "--input-size=48 --in-chans=1 --train-crop-mode=rkrr --gaussian-blur-prob=0.1",
            "--input-size=48 --no-aug --sampler=square-root --limit-batches=3",
            "--loss=bce --bce-sum --bce-target-thresh=0.2 --smoothing=0.1 --teacher=t.onnx --distillation-tau=2",
            "--class-weights=balanced --loss=balanced-noised-topk --max-margin=0.5",
            "--val-interval=2 --val-topk=3,1 --eval-metric=top3 --patience=2 --min-delta=0.5 --checkpoint-hist=3",
            "--checkpoint=w.pth --classifier=new --decay-milestones=3,5 --loss=ce --label-smoothing=0.1",
            "--opt=adamw --opt-betas=0.9,0.95 --opt-eps=1e-7 --filter-bias-and-bn --layer-decay=0.75 --head-lr=1 --freeze=conv1,bn1 \
             --unfreeze-epoch=3 --clip-grad=1 --clip-mode=agc",
            "--opt=rmsprop --momentum=0.5 --lr-base=0.1 --sched=poly --decay-rate=2 --min-lr=1e-5 --warmup-epochs=2 \
             --warmup-lr=1e-6 --warmup-prefix=false --cooldown-epochs=1 --sched-on-updates=false",
            "--opt=lamb --lr=0.01 --sched=step --decay-epochs=2.4 --decay-rate=0.97",
            "--sched=plateau --patience-epochs=3",
        ] {
            let config = config(words).resolved();
            assert_eq!(parsed(&config.to_map()), Some(config), "{words}");
        }
    }

    #[test]
    fn a_setting_that_an_older_program_did_not_have_was_at_its_default() {
        let mut saved = map("");
        saved.remove("on-nan");
        saved.remove("test-crops");
        assert!(Changes::between(&saved, &map("")).is_empty());
        // Some defaults follow from others.
        let mut deterministic = map("--deterministic");
        deterministic.remove("cudnn-benchmark");
        assert!(Changes::between(&deterministic, &map("--deterministic")).is_empty());
        let changes = Changes::between(&saved, &map("--on-nan=skip --clip-grad=1"));
        assert_eq!(
            changes.to_string(),
            "--clip-grad was not set, now 1.0; --on-nan was fail, now skip"
        );
        assert_eq!(
            changes.refused(1).to_string(),
            "--clip-grad was not set, now 1.0"
        );
    }

    #[test]
    fn settings_of_numerics_may_change_unless_they_decide_the_weights() {
        let was = map("");
        let changes = |words| Changes::between(&was, &map(words)).refused(1).to_string();
        assert_eq!(
            changes("--deterministic --augment-on-device --log-interval=7"),
            ""
        );
        assert_eq!(changes("--tf32=none"), "--tf32 was convolutions, now none");
        assert_eq!(
            changes("--amp --amp-dtype=float16"),
            "--amp was false, now true; --amp-dtype was bfloat16, now float16"
        );
    }

    #[test]
    fn missing_settings_that_follow_from_others_are_those_of_the_run() {
        let saved = map("--epochs=3");
        let continued = as_saved(&config("--epochs=5"), &saved).resolved();
        assert_eq!(
            continued.schedule.decay_milestones,
            Some(Milestones(vec![2, 3]))
        );
        let every = as_saved(&config("--epochs=5 --decay-epochs=2"), &saved).resolved();
        assert_eq!(every.schedule.decay_milestones, None);
        let given = as_saved(&config("--epochs=5 --decay-milestones=4"), &saved).resolved();
        assert_eq!(given.schedule.decay_milestones, Some(Milestones(vec![4])));
    }

    #[test]
    fn augmentation_in_other_words_replaces_that_of_the_run() {
        let saved = map("--model=basic-4 --augment=crop:4,flip");
        let resumed = as_saved(&config("--reprob=0.25"), &saved);
        assert_eq!(
            (resumed.augment.is_none(), resumed.model()),
            (true, "basic-4")
        );
        let resumed = as_saved(&config(""), &saved);
        assert!(resumed.augment.is_some());
    }

    #[test]
    fn later_milestones_may_change() {
        let changes = |was: Value, now: Value| {
            Changes(vec![ChangedSetting {
                setting: "decay-milestones".to_owned(),
                was,
                now,
            }])
        };
        assert!(changes(json!([2, 5]), json!([2, 4])).refused(3).is_empty());
        assert!(!changes(json!([2, 5]), json!([2, 4])).refused(4).is_empty());
        assert!(!changes(json!([2, 5]), json!([5])).refused(3).is_empty());
    }
}

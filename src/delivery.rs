//! The way of images to the device: as bytes, copied while the device computes, and normalised there.
//!
//! The device looks normalised values up in the loader's table, and mixes and crops with the same operations, so that
//! its images are those of the loader, bit for bit.

use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Kind, TchError, Tensor};
use topk_image::NormalizationTable;
use topk_image::augment::{Mix, Shown};
use topk_libtorch::{CopyStream, Upload};

use crate::images::{Batch, Pixels};

/// How batches of bytes get to a device.
#[derive(Debug)]
pub(crate) struct Delivery {
    stream: CopyStream,
    /// Channels, height and width of the images.
    shape: [i64; 3],
    /// Tensors may be used by one thread at a time.
    normalization: Mutex<Normalization>,
    form: Form,
}

/// The loader's table, on the device.
#[derive(Debug)]
struct Normalization {
    /// The normalised value of a byte `b` of channel `c` is at `256 c + b`.
    table: Tensor,
    /// Where each channel starts in the table.
    channels: Tensor,
}

/// What is delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Normalised and mixed images.
    Normalized,
    /// Augmented images of bytes.
    Pixels,
    /// Images of bytes, from which the device crops with so many pixels of black around them.
    Cropped { padding: u32 },
}

/// A batch in host memory.
#[derive(Debug)]
pub(crate) struct HostBatch<'a> {
    pub(crate) images: HostImages<'a>,
    pub(crate) labels: &'a [i64],
    /// How the first images are mixed; those behind them are only partners.
    pub(crate) mix: Option<Mix>,
}

/// The images of a batch in host memory.
#[derive(Debug)]
pub(crate) enum HostImages<'a> {
    /// `[images, channels, height, width]`, mixed; without those that are only partners.
    Normalized(&'a [f32]),
    /// `[images, height, width, channels]`, and the part of each image to be shown, if the device augments.
    Pixels(&'a [u8], &'a [Option<Shown>]),
}

/// The images of a batch on their way to the device.
#[derive(Debug)]
pub(crate) struct UploadedImages {
    delivery: Arc<Delivery>,
    /// Images and labels; crops, if the device augments; partners, if images are mixed.
    upload: Upload,
    mix: Option<Mix>,
}

/// What the network and the loss of a batch take, on the device.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// `[images, channels, height, width]`.
    pub(crate) images: Tensor,
    pub(crate) labels: Tensor,
    /// If images are mixed: the labels of the partners, and the weight of each image's own label.
    pub(crate) mixed: Option<(Tensor, f64)>,
}

impl Delivery {
    /// The delivery of images of this shape (channels, height, width) to a device. One that normalises does so with this
    /// table, of three channels.
    pub(crate) fn new(
        device: Device,
        shape: [usize; 3],
        table: &NormalizationTable,
        form: Form,
    ) -> Result<Self, TchError> {
        let channels = 0..table.channels();
        let values: Vec<f32> = channels
            .flat_map(|channel| *table.channel(channel))
            .collect();
        Ok(Self {
            stream: CopyStream::new(device)?,
            shape: shape.map(|dim| dim as i64),
            normalization: Mutex::new(Normalization {
                table: Tensor::from_slice(&values).f_to_device(device)?,
                channels: Tensor::from_slice(&[0i32, 256, 512]).f_to_device(device)?,
            }),
            form,
        })
    }

    /// Whether the device crops and flips.
    pub(crate) fn augments(&self) -> bool {
        matches!(self.form, Form::Cropped { .. })
    }

    /// Whether the device normalises, and mixes.
    pub(crate) fn normalizes(&self) -> bool {
        self.form != Form::Normalized
    }

    /// Starts to copy a batch.
    pub(crate) fn upload(
        self: &Arc<Self>,
        batch: HostBatch<'_>,
    ) -> Result<UploadedImages, TchError> {
        let [channels, height, width] = self.shape;
        let count = batch.labels.len() as i64;
        let own = batch.mix.as_ref().map(|mix| mix.partners().len() as i64);
        let own = own.unwrap_or(count);
        let stream = &self.stream;
        let mut tensors = vec![
            match batch.images {
                HostImages::Normalized(values) => {
                    stream.stage(values, &[own, channels, height, width])
                }
                HostImages::Pixels(pixels, _) => stream.stage(pixels, &[count, height, width, 3]),
            }?,
            stream.stage(batch.labels, &[count])?,
        ];
        if let (Form::Cropped { padding }, HostImages::Pixels(_, shown)) =
            (self.form, &batch.images)
        {
            let crop = |shown: &Shown| {
                let [x, y] = shown.at.map(|at| at + i64::from(padding));
                [x, y, i64::from(shown.mirrored)]
            };
            let crops: Vec<i64> = shown.iter().flatten().flat_map(crop).collect();
            tensors.push(stream.stage(&crops, &[count, 3])?);
        }
        if let Some(mix) = &batch.mix {
            let partners: Vec<i64> = mix.partners().iter().map(|&index| index as i64).collect();
            tensors.push(stream.stage(&partners, &[own])?);
        }
        Ok(UploadedImages {
            delivery: Arc::clone(self),
            upload: self.stream.upload(tensors)?,
            mix: batch.mix,
        })
    }

    /// Crops, flips, normalises and mixes the uploaded tensors of a batch, as far as the loader has not.
    pub(crate) fn inputs(&self, tensors: &[Tensor], mix: Option<&Mix>) -> Result<Inputs, TchError> {
        let (images, labels) = (&tensors[0], &tensors[1]);
        let mut own_labels = labels.shallow_clone();
        let mut images = match self.form {
            Form::Normalized => images.shallow_clone(),
            Form::Pixels => self.normalized(images)?,
            Form::Cropped { padding } => {
                self.normalized(&self.cropped(images, &tensors[2], padding.into())?)?
            }
        };
        let mut with_partners = None;
        if let Some(mix) = mix {
            let partners = &tensors[tensors.len() - 1];
            if self.normalizes() {
                images = mixed(&images, partners, mix)?;
            }
            with_partners = Some((labels.f_index_select(0, partners)?, mix.lambda()));
            own_labels = labels.f_narrow(0, 0, partners.size()[0])?;
        }
        Ok(Inputs {
            images,
            labels: own_labels,
            mixed: with_partners,
        })
    }

    /// Images `[images, height, width, channels]` of bytes as normalised ones, `[images, channels, height, width]`.
    fn normalized(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        let normalization = self.normalization.lock();
        let Normalization { table, channels } =
            &*normalization.unwrap_or_else(PoisonError::into_inner);
        let entries = pixels.f_add(channels)?;
        let values = table.f_index_select(0, &entries.f_view(-1)?)?;
        values.f_view(&pixels.size()[..])?.f_permute([0, 3, 1, 2])
    }

    /// The shown part of images `[images, height, width, channels]`; `crops` has the first column and row of each, in
    /// the padded image, and whether it is mirrored.
    fn cropped(&self, pixels: &Tensor, crops: &Tensor, padding: i64) -> Result<Tensor, TchError> {
        let [_, height, width] = self.shape;
        let padded = pixels.f_constant_pad_nd([0, 0, padding, padding, padding, padding])?;
        let indices = |len| Tensor::f_arange(len, (Kind::Int64, pixels.device()));
        let [x, y, mirrored] = [0, 1, 2].map(|column| crops.f_select(1, column));
        let (x, y, mirrored) = (x?.f_view([-1, 1])?, y?.f_view([-1, 1])?, mirrored?);
        let columns = indices(width)?;
        // From the last column to the first where an image is mirrored.
        let backwards = columns.f_flip([0])?;
        let mirrored = mirrored.f_view([-1, 1])?.f_gt(0)?;
        let columns = backwards.f_where_self(&mirrored, &columns)?.f_add(&x)?;
        let rows = indices(height)?.f_add(&y)?;
        let images = indices(pixels.size()[0])?.f_view([-1, 1, 1])?;
        padded.f_index(&[
            Some(&images),
            Some(&rows.f_unsqueeze(2)?),
            Some(&columns.f_unsqueeze(1)?),
        ])
    }
}

/// Mixes the first images, which have partners, with these, as [`Mix::write`] does.
fn mixed(images: &Tensor, partners: &Tensor, mix: &Mix) -> Result<Tensor, TchError> {
    let others = images.f_index_select(0, partners)?;
    let images = &images.f_narrow(0, 0, partners.size()[0])?;
    let (part, rest) = (mix.lambda(), 1.0 - mix.lambda());
    let Some(rect) = mix.rect() else {
        return others
            .f_mul_scalar(rest)?
            .f_add(&images.f_mul_scalar(part)?);
    };
    let cut = |images: &Tensor| {
        let [x, y, width, height] = [rect.x, rect.y, rect.width, rect.height].map(i64::from);
        images.f_narrow(2, y, height)?.f_narrow(3, x, width)
    };
    let mut mixed = images.f_empty_like()?;
    mixed.f_copy_(images)?;
    cut(&mixed)?.f_copy_(&cut(&others)?)?;
    Ok(mixed)
}

impl UploadedImages {
    /// The uploaded tensors, for the calling thread's current stream. Does not wait.
    pub(crate) fn tensors(&self) -> Result<Vec<Tensor>, TchError> {
        self.upload.tensors()
    }

    /// The batch of these tensors, which have been [uploaded](Self::tensors).
    pub(crate) fn inputs_of(&self, tensors: &[Tensor]) -> Result<Inputs, TchError> {
        self.delivery.inputs(tensors, self.mix.as_ref())
    }
}

impl Batch {
    /// The batch on the device.
    pub(crate) fn inputs(
        &self,
        [channels, height, width]: [usize; 3],
        device: Device,
    ) -> Result<Inputs, TchError> {
        let values = match &self.images {
            Pixels::Uploaded(images) => return images.inputs_of(&images.tensors()?),
            Pixels::Normalized(values) => values,
        };
        let [c, h, w] = [channels, height, width].map(|dim| dim as i64);
        let images = Tensor::from_slice(values).f_view([-1, c, h, w])?;
        let mixed = match &self.mixed {
            Some((partners, lambda)) => {
                let partners = Tensor::from_slice(partners).f_to_device(device)?;
                Some((partners, *lambda))
            }
            None => None,
        };
        Ok(Inputs {
            images: images.f_to_device(device)?,
            labels: Tensor::from_slice(&self.labels).f_to_device(device)?,
            mixed,
        })
    }
}

#[cfg(test)]
mod tests {
    use topk_data::{ImageSet, Options, Split};
    use topk_image::augment::Augmentation;
    use topk_preprocessing::Normalization as MeanAndStd;

    use super::*;
    use crate::batching::{Batching, LastBatch, Part};
    use crate::config::ErrorPolicy;
    use crate::images::{ImageOptions, Images, Preparation, Source};
    use crate::sample;

    const SHAPE: [usize; 3] = [3, 32, 32];

    /// Images, and labels and partners' labels, of a batch, by their bits: one row per image.
    type Rows = Vec<(Vec<u32>, [i64; 3])>;

    /// The batches of an epoch, of which this is a part.
    fn epoch(augment: &str, mix: Option<&str>, form: Option<Form>, part: Part) -> Vec<Rows> {
        let folder = tempfile::tempdir().unwrap();
        sample::write(folder.path(), 20, 10);
        let options = Options {
            split: Split::Train,
            allow_empty_classes: true,
            ..Options::default()
        };
        let set = ImageSet::open(folder.path(), &options).unwrap();
        let labels = set.samples().iter().map(|image| image.label.unwrap());
        let source = Source {
            labels: labels.map(i64::from).collect(),
            indices: (0..20).collect(),
            set: Arc::new(set),
        };
        let table = NormalizationTable::new(&MeanAndStd::CIFAR100);
        let delivery = form.map(|form| Delivery::new(Device::Cpu, SHAPE, &table, form));
        let images = Images::new(
            source,
            ImageOptions {
                mode: topk_preprocessing::ImageMode::Rgb,
                shape: SHAPE,
                table,
                preparation: Preparation::Augment {
                    resize: None,
                    augmentation: augment.parse::<Augmentation>().unwrap(),
                    mixing: mix.map(|mix| mix.parse().unwrap()),
                },
                delivery: delivery.map(|delivery| Arc::new(delivery.unwrap())),
                on_bad: ErrorPolicy::Fail,
                seed: 3,
                order: crate::order::Order::Full(20),
            },
        );
        let batching = Batching {
            size: 8,
            last: LastBatch::Smaller,
            limit: None,
        };
        let read = |batch: Batch| {
            let inputs = batch.inputs(SHAPE, Device::Cpu).unwrap();
            let values: Vec<f32> = Vec::try_from(inputs.images.contiguous().view(-1)).unwrap();
            let labels: Vec<i64> = Vec::try_from(inputs.labels).unwrap();
            assert_eq!(labels, batch.labels);
            let (partners, lambda) = match inputs.mixed {
                Some((partners, lambda)) => (Vec::<i64>::try_from(partners).unwrap(), lambda),
                None => (vec![-1; labels.len()], 1.0),
            };
            let images = values.chunks_exact(SHAPE.iter().product());
            let images = images.map(|image| image.iter().map(|value| value.to_bits()).collect());
            let labels = labels.into_iter().zip(partners);
            let labels = labels.map(|(own, partner)| [own, partner, lambda.to_bits() as i64]);
            images.zip(labels).collect()
        };
        let batches = Arc::new(images.unwrap()).epoch(2, batching, 0, part);
        batches.map(|batch| read(batch.unwrap())).collect()
    }

    #[test]
    fn the_device_makes_the_images_of_the_loader() {
        for mix in [None, Some("mixup:0.4"), Some("cutmix:1")] {
            for augment in [
                "crop:4,flip",
                "flip:0.7",
                "crop:40",
                "none",
                "color-jitter:0.4,flip",
                "crop:4,flip,random-erasing:1:value=random",
            ] {
                let expected = epoch(augment, mix, None, Part::WHOLE);
                let forms: &[Form] = match augment {
                    "crop:4,flip" => &[Form::Pixels, Form::Cropped { padding: 4 }],
                    "crop:40" => &[Form::Cropped { padding: 40 }],
                    "flip:0.7" | "none" => &[Form::Pixels, Form::Cropped { padding: 0 }],
                    "color-jitter:0.4,flip" => &[Form::Pixels],
                    _ => &[Form::Normalized],
                };
                for &form in forms {
                    let found = epoch(augment, mix, Some(form), Part::WHOLE);
                    assert!(found == expected, "{augment}, {mix:?}, {form:?}");
                }
            }
        }
        let of = |augment| epoch(augment, None, None, Part::WHOLE);
        assert!(of("none") != of("crop:4,flip"));
    }

    #[test]
    fn the_parts_of_all_ranks_are_the_batch() {
        for mix in [None, Some("mixup:0.4"), Some("cutmix:1")] {
            for (augment, form) in [
                ("crop:4,flip", None),
                ("crop:4,flip", Some(Form::Pixels)),
                ("crop:4,flip", Some(Form::Cropped { padding: 4 })),
                (
                    "crop:4,flip,random-erasing:1:value=random",
                    Some(Form::Normalized),
                ),
            ] {
                let whole = epoch(augment, mix, form, Part::WHOLE);
                for world_size in [2, 3, 7] {
                    let part = |rank| Part {
                        rank,
                        world_size,
                        least: 1,
                    };
                    let parts: Vec<Vec<Rows>> = (0..world_size)
                        .map(|rank| epoch(augment, mix, form, part(rank)))
                        .collect();
                    for (number, batch) in whole.iter().enumerate() {
                        for (position, image) in batch.iter().enumerate() {
                            let of_rank = &parts[position % world_size][number];
                            assert!(of_rank[position / world_size] == *image);
                        }
                        let images: usize = parts.iter().map(|part| part[number].len()).sum();
                        assert_eq!(images, batch.len(), "{augment}, {mix:?}, {form:?}");
                    }
                }
            }
        }
    }
}

"""The vocabulary of the data that a probe read: facts whose source is the examples themselves. No measuring happens here. Stdlib and `fact_spec`.

They are of the examples that were read, a bounded number; `data.is_whole` says whether those are all.
"""

from __future__ import annotations

from trainaudit.measure.fact_spec import DATA, FactSpec
from trainaudit.measure.fact_spec import boolean as _boolean
from trainaudit.measure.fact_spec import count as _count
from trainaudit.measure.fact_spec import number as _number
from trainaudit.measure.fact_spec import word as _word

DATA_FACTS: tuple[FactSpec, ...] = (
    _count("data.sample_count", "examples", DATA, "examples that were read"),
    _count("data.batch_size", "examples", DATA, "examples in the largest batch"),
    _boolean("data.is_whole", DATA, "the examples that were read are all that there are"),
    _word("data.input", DATA, "name of the input whose scale is farthest from 1 (of the numeric inputs)"),
    _number("data.input_mean", "", DATA, "mean of that input over all its elements"),
    _number("data.input_std", "", DATA, "standard deviation of that input over all its elements"),
    _number("data.input_absmax", "", DATA, "largest magnitude in that input"),
    _number("data.feature_scale_ratio", "ratio", DATA,
            "largest standard deviation of a feature over their lower quartile, of the features that vary: the largest of all inputs"),
    _count("data.feature_count", "features", DATA, "features of the widest input: columns of a table, channels of an image"),
    _count("data.element_count", "values", DATA, "values of one example, all inputs together"),
    _number("data.constant_feature_share", "share", DATA, "share of features that have one and the same value in all examples: the largest of all inputs"),
    _number("data.largest_z", "standard deviations", DATA, "largest distance of a value from the mean of its feature"),
    _number("data.largest_reach", "standard deviations", DATA, "largest distance of a value from the mean of its whole input"),
    _number("data.outlier_share", "share", DATA, "share of values further than 6 standard deviations of their feature from its mean"),
    _count("data.non_finite_input_count", "values", DATA, "values of the inputs that are NaN or infinite"),
    _count("data.non_finite_target_count", "values", DATA, "values of the targets that are NaN or infinite"),
    _number("data.duplicate_share", "share", DATA, "share of examples whose inputs equal those of an earlier one bit for bit"),
    _number("data.overlap_share", "share", DATA, "share of the validation examples whose inputs equal those of a training example bit for bit"),
    _word("data.target_kind", DATA, "what the targets are", "classes", "binary", "probabilities", "values", "other"),
    _number("data.target_mean", "", DATA, "mean of targets that are numbers"),
    _number("data.target_least", "", DATA, "smallest target, of targets that are numbers, zeros and ones or probabilities"),
    _number("data.target_most", "", DATA, "largest of them"),
    _boolean("data.is_one_hot", DATA, "the targets are zeros and ones in several columns, with as many ones as examples"),
    _number("data.target_std", "", DATA, "standard deviation of targets that are numbers"),
    _count("data.class_count", "classes", DATA, "classes that the model tells apart, 2 for targets of 0 and 1"),
    _number("data.imbalance_ratio", "ratio", DATA, "examples of the most frequent class over those of the least frequent one that there is"),
    _word("data.rarest_class", DATA, "the least frequent class that there is"),
    _count("data.missing_class_count", "classes", DATA, "classes of the model without an example"),
    _number("data.samples_per_class", "examples", DATA, "examples that were read over the classes of the model"),
    _count("data.out_of_range_label_count", "labels", DATA, "labels that are negative or not below the model's classes; the loss's ignore index does not count"),
    _number("data.label_entropy_ratio", "ratio", DATA,
            "mean entropy of the labels in a batch over what it is when the same labels are dealt to the batches by chance"),
    _boolean("data.is_same_order", DATA, "two passes of the loader gave the same examples in the same order"),
    _boolean("data.is_augmented", DATA, "one example fetched twice differs"),
    _number("data.repeated_augmentation_share", "share", DATA, "share of the draws of the same examples, by each worker in each of two epochs, that equal another one"),
)  # fmt: skip

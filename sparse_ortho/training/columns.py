"""The columns of records (a row a seed) and curves (a row an epoch): name -> parquet type. Imports no torch.

Accuracies are in percent. `test_accuracy_last` is the result of a run. `test_accuracy_best_validation` belongs to the
first epoch with the best validation accuracy. `test_accuracy_max` is the best test accuracy over the epochs: it
selects on the test part and is only to be set beside published numbers that were made so.
"""

RECORD_COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "status": "string",  # ok, diverged, refused
    "reason": "string",
    "epochs": "int64",
    "steps": "int64",
    "test_accuracy_last": "double",
    "test_accuracy_best_validation": "double",
    "test_accuracy_max": "double",
    "validation_accuracy_last": "double",
    "validation_accuracy_best": "double",
    "best_epoch": "int64",
    "train_accuracy_last": "double",
    "train_loss_last": "double",
    "test_loss_last": "double",
    "density": "double",
    "nonzeros": "int64",
    "weights": "int64",
    "exploration": "double",  # share of the weights with a mask that were active at some time
    "level": "int64",  # of the ladder that the network starts from; absent without one
    "free_parameters": "int64",  # values that a rule which ties weights trains in their place; absent without one
    "explored": "int64",  # weights that were active at some time, where a rule counts them
    "empty_units": "int64",  # outputs without weights, where a rule takes away whole ones
    "extra_parameters": "int64",  # that parts trained besides the network, such as ghost skips; absent without any
    "extra_parameters_kept": "int64",  # of them those that the evaluated network still has
}
CURVE_COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "epoch": "int64",
    "step": "int64",
    "lr": "double",  # of the epoch's last step; at epoch 0 of the first step to come
    "train_loss": "double",  # mean over the epoch's images while it trains; at epoch 0 an evaluation
    "train_accuracy": "double",
    "validation_loss": "double",
    "validation_accuracy": "double",
    "test_loss": "double",
    "test_accuracy": "double",
    "density": "double",  # these four as training/topology.py has them
    "exploration": "double",
    "mask_change": "double",
    "layers": "string",
}

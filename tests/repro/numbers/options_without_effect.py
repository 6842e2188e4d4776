"""What an option does not change is trained once, under all its names."""

from sweeps.grid.grid import cells_of
from sweeps.grid.parse import parse_grid

for axes, number in (
    (["norm=none,layernorm", "residual=pre,post,sandwich"], 2),
    (["init=gpt2,xavier", "scale_residual=true,false"], 1),
    (["optimizer=sgd,adam", "momentum=0.5,0.9"], 1),
    (["optimizer=sgd,adam", "beta1=0.5,0.9"], 1),
    (["schedule=constant,cosine", "min_learning_rate=0.0001,0.001"], 1),
    (["norm=none,layernorm", "norm_epsilon=0.00001,0.001"], 1),
    (["optimizer=adam,adamw", "weight_decay=0,0.1"], 1),
    (["num_heads=1,2", "position=none,alibi"], 0),
    (["data_seed=0,1"], 0),
):
    cells = cells_of([parse_grid(sets=axes, seeds=1, steps=5, corpus="repeat")])
    assert sum(cell.alias_of is not None for cell in cells) == number, (axes, [cell.alias_of for cell in cells])
print("ok")

from optimizers.kept import *

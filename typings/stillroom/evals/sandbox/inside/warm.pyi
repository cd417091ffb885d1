from evals.sandbox.inside.warm import *

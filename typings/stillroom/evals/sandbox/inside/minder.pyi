from evals.sandbox.inside.minder import *

from evals.sandbox.inside.enter import *

from evals.sandbox.inside.frames import *

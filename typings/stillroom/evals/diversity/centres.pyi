from evals.diversity.centres import *

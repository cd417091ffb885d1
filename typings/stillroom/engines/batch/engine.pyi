from engines.batch.engine import *

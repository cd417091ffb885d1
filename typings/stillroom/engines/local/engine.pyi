from engines.local.engine import *

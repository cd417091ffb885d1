from engines.local import *

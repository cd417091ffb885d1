from programs.forecast import *

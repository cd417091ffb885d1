from programs.flow.run import *

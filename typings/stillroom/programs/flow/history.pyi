from programs.flow.history import *

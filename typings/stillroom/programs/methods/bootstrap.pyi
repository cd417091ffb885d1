from programs.methods.bootstrap import *

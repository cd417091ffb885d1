from programs.methods.process import *

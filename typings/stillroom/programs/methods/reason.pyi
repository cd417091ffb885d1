from programs.methods.reason import *

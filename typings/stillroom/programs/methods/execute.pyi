from programs.methods.execute import *

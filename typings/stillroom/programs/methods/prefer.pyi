from programs.methods.prefer import *

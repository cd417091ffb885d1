from programs.methods.ground import *

from programs.methods.critic import *
